"""The manifests: as kustomize writes them, against Kubernetes' schemas, and by assertions of our own."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import yaml

import fixture
from checks import CHECKOUT, part, run

KUBERNETES = CHECKOUT / "deploy" / "kubernetes"
FOLDERS = ("base", "workers-fixed", "workers-keda", "monitoring")
TOOLS = Path(sys.executable).parent
# The oldest that deploy/kubernetes/README.md promises, and the newest that kubernetes-validate knows.
VERSIONS = ("1.29", "1.37")
# Kinds of others, for which kubernetes-validate has no schema.
FOREIGN = ("ScaledJob", "PodMonitor")
PROGRAMS = {"coordinator": fixture.ANOFPDM, "worker": fixture.WORKER}
# What deploy/kubernetes/README.md has people make by hand.
BY_HAND = re.compile(r"create secret generic (\S+)((?: --from-file=\S+)+)")


def build(folder):
    return list(yaml.safe_load_all(run("kubectl", "kustomize", KUBERNETES / folder).stdout))


def as_job(scaled):
    """The Job that KEDA makes of a ScaledJob: one that Kubernetes has a schema for."""
    metadata = {"name": scaled["metadata"]["name"], "namespace": scaled["metadata"]["namespace"]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": scaled["spec"]["jobTargetRef"]}


def pods(objects):
    """(name, pod template) of everything that starts pods."""
    for each in objects:
        spec = each["spec"]["jobTargetRef"] if each["kind"] == "ScaledJob" else each.get("spec", {})
        if "template" in spec:
            yield f"{each['kind']} {each['metadata']['name']}", spec["template"]


def check_schemas(checks, folder, name, objects):
    known = [each for each in objects if each["kind"] not in FOREIGN]
    known += [as_job(each) for each in objects if each["kind"] == "ScaledJob"]
    if not known:
        return
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump_all(known))
    for version in VERSIONS:
        said = run(TOOLS / "kubernetes-validate", "--strict", "--kubernetes-version", version, file, check=False)
        checks.that(f"{name}: valid for Kubernetes {version}", said.returncode == 0, said.stdout + said.stderr)


def check_pod(checks, name, template):
    spec = template["spec"]
    security = spec.get("securityContext", {})
    not_root = security.get("runAsNonRoot") and security.get("runAsUser", 0) > 0
    checks.that(
        f"{name}: not root, a seccomp profile",
        not_root and security["seccompProfile"]["type"] == "RuntimeDefault",
        security,
    )
    checks.that(f"{name}: no token of the cluster's", spec.get("automountServiceAccountToken") is False)
    for container in spec["containers"]:
        own = container.get("securityContext", {})
        locked = (
            own.get("readOnlyRootFilesystem")
            and own.get("allowPrivilegeEscalation") is False
            and own["capabilities"]["drop"] == ["ALL"]
        )
        checks.that(f"{name}: root read-only, no capabilities", locked, own)
        limits = container.get("resources", {}).get("limits", {})
        checks.that(f"{name}: limits of processor and memory", {"cpu", "memory"} <= set(limits), limits)
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"] for volume in spec["volumes"]}
        checks.that(f"{name}: every volume is mounted, and there", mounted == volumes, (mounted, volumes))
        ports = {port["name"] for port in container["ports"]}
        probes = [container[key] for key in ("startupProbe", "livenessProbe", "readinessProbe") if key in container]
        asked = {
            next(iter(probe[how] for how in ("httpGet", "tcpSocket") if how in probe))["port"] for probe in probes
        }
        checks.that(f"{name}: probes ask ports that are there", len(probes) >= 2 and asked <= ports, (asked, ports))


def check_program(checks, name, template, pages, folder):
    """Arguments, address, port and grace of our own programs."""
    container = template["spec"]["containers"][0]
    program = PROGRAMS.get(container["name"])
    if program is None:
        return
    command, *arguments = container["args"]
    options = dict(argument.lstrip("-").split("=", 1) for argument in arguments if argument.startswith("--"))
    known = run(program, command, "--help").stdout
    unknown = [option for option in options if not re.search(rf"--{option}\b", known)]
    checks.that(f"{name}: the program has every option", not unknown, unknown)
    if container["name"] == "worker":
        said = started(folder, container["args"])
        checks.that(f"{name}: the program takes every value", "cannot be reached" in said, said)
    port = int(options["metrics"].rsplit(":", 1)[1])
    checks.that(
        f"{name}: it listens at the port that is declared", port == container["ports"][0]["containerPort"], port
    )
    asked = {container[key]["httpGet"]["path"] for key in ("startupProbe", "livenessProbe", "readinessProbe")}
    checks.that(f"{name}: the program serves every page that is asked", asked <= pages, asked - pages)
    if "drain-seconds" in options:
        grace = template["spec"]["terminationGracePeriodSeconds"]
        checks.that(f"{name}: grace is longer than --drain-seconds", grace > int(options["drain-seconds"]), grace)
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    paths = [variable["value"] for variable in container.get("env", []) if variable["name"].endswith("_FILE")]
    paths += [options[key] for key in ("data", "artifacts", "dir") if key in options]
    missing = [path for path in paths if not any(Path(path).is_relative_to(mount) for mount in mounts)]
    checks.that(f"{name}: every path is on a volume", not missing, missing)


def started(folder, arguments):
    """What a worker says of these arguments, with what only a cluster has replaced: it ends where it looks for a queue."""
    here = {
        "--queue": "redis://worker@127.0.0.1:1",
        "--device": "cpu",
        "--data": folder,
        "--artifacts": folder,
        "--metrics": "127.0.0.1:0",
    }
    options = [argument.split("=", 1)[0] for argument in arguments]
    arguments = [
        f"{option}={here[option]}" if option in here else argument for option, argument in zip(options, arguments)
    ]
    env = {**os.environ, "ANOFPDM_REDIS_PASSWORD": "0123456789abcdef"}
    ended = run(fixture.WORKER, *arguments, check=False, env=env)
    return ended.stdout + ended.stderr


def check_names(checks, everything):
    """What is named exists: secrets with their keys, settings, claims, services, labels of policies, port names."""
    readme = (KUBERNETES / "README.md").read_text().replace("\\\n", " ")
    by_hand = {
        name: {Path(file.split("=")[-1]).name for file in files.split()}
        for name, files in BY_HAND.findall(re.sub(r" +", " ", readme))
    }
    there = {(each["kind"], each["metadata"]["name"]) for each in everything}
    wanted = set()
    for _, template in pods(everything):
        for volume in template["spec"]["volumes"]:
            if "secret" in volume:
                wanted.add(("Secret", volume["secret"]["secretName"]))
            if "configMap" in volume:
                wanted.add(("ConfigMap", volume["configMap"]["name"]))
            if "persistentVolumeClaim" in volume:
                wanted.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
    missing = [each for each in wanted if each not in there and not (each[0] == "Secret" and each[1] in by_hand)]
    checks.that("every secret, setting and claim that is named is there or made by hand", not missing, missing)
    for name, template in pods(everything):
        container = template["spec"]["containers"][0]
        for variable in container.get("env", []):
            secret = next(
                volume["secret"]["secretName"] for volume in template["spec"]["volumes"] if "secret" in volume
            )
            file = Path(variable["value"]).name
            checks.that(f"{name}: its secret has the file {file}", file in by_hand.get(secret, ()), by_hand)
        for address in re.findall(r"redis://\w+@([\w-]+):(\d+)", " ".join(container.get("args", []))):
            services = [
                each for each in everything if each["kind"] == "Service" and each["metadata"]["name"] == address[0]
            ]
            checks.that(
                f"{name}: the service {address[0]} has port {address[1]}",
                any(str(port["port"]) == address[1] for each in services for port in each["spec"]["ports"]),
            )
    labels = [template["metadata"]["labels"] for _, template in pods(everything)]
    names = {label["app.kubernetes.io/name"] for label in labels}
    selected = set()
    for each in everything:
        selected |= set(
            re.findall(
                r"anofpdm-(?:redis|coordinator|worker)\b",
                yaml.safe_dump(each["spec"].get("podSelector", {})) if "spec" in each else "",
            )
        )
        for rule in (
            each.get("spec", {}).get("ingress", []) + each.get("spec", {}).get("egress", [])
            if each["kind"] == "NetworkPolicy"
            else []
        ):
            selected |= set(re.findall(r"anofpdm-[a-z]+", yaml.safe_dump(rule)))
    checks.that("policies select pods that are there", selected == names, (selected, names))
    for each in everything:
        if each["kind"] == "PodMonitor":
            ports = {
                port["name"]
                for _, template in pods(everything)
                for port in template["spec"]["containers"][0]["ports"]
            }
            checks.that(
                "PodMonitor: its ports are there",
                {endpoint["port"] for endpoint in each["spec"]["podMetricsEndpoints"]} <= ports,
            )


def check_scaled(checks, scaled):
    """What KEDA needs and only KEDA's own schema would say; names as its documentation has them."""
    spec = scaled["spec"]
    known = {"jobTargetRef", "pollingInterval", "minReplicaCount", "maxReplicaCount", "successfulJobsHistoryLimit"}
    known |= {"failedJobsHistoryLimit", "rollout", "scalingStrategy", "triggers"}
    checks.that("ScaledJob: no unknown key", set(spec) <= known, set(spec) - known)
    trigger = spec["triggers"][0]
    values = trigger["metadata"]
    checks.that(
        "ScaledJob: a Prometheus trigger, all values text",
        trigger["type"] == "prometheus" and all(isinstance(value, str) for value in values.values()),
        values,
    )
    metrics = (CHECKOUT / "docs" / "metrics.md").read_text()
    asked = re.findall(r"anofpdm_\w+", values["query"])
    checks.that(
        "ScaledJob: it asks a metric that there is", asked and all(f"`{name}`" in metrics for name in asked), asked
    )
    job = spec["jobTargetRef"]
    checks.that(
        "ScaledJob: a worker that fails is not started again, the next is KEDA's",
        job["backoffLimit"] == 0 and job["template"]["spec"]["restartPolicy"] == "Never",
    )
    arguments = job["template"]["spec"]["containers"][0]["args"]
    idle = [int(argument.split("=")[1]) for argument in arguments if argument.startswith("--exit-when-idle=")]
    checks.that(
        "ScaledJob: its workers end by themselves, after minutes without work", idle and idle[0] >= 300, arguments
    )


def pages_served(folder):
    """The pages that a worker serves while it waits for its queue, here one that never answers."""
    password = folder / "worker.password"
    password.write_text("0123456789abcdef")
    silent = socket.create_server(("127.0.0.1", 0))
    command = [
        fixture.WORKER,
        "run",
        f"--queue=redis://worker@127.0.0.1:{silent.getsockname()[1]}",
        "--metrics=127.0.0.1:0",
    ]
    env = {**os.environ, "ANOFPDM_REDIS_PASSWORD_FILE": str(password)}
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    worker = subprocess.Popen(command, env=env, cwd=folder, **options)
    try:
        for line in worker.stdout:
            if found := re.search(r"metrics at (http://\S+)/metrics", line):
                pages = ("/healthz", "/livez", "/readyz", "/metrics", "/no-such-page")
                return {page for page in pages if fixture.page(found[1] + page)[0] in (200, 503)}
        return set()
    finally:
        worker.kill()
        worker.wait()
        silent.close()


def body(checks, folder):
    if shutil.which("kubectl") is None:
        run(CHECKOUT / "scripts" / "need.sh", "kubernetes-client")
    pages = pages_served(folder)
    checks.that(
        "pages are there before the queue is, and no others",
        pages == {"/healthz", "/livez", "/readyz", "/metrics"},
        pages,
    )
    built = {name: build(name) for name in FOLDERS}
    for name, objects in built.items():
        checks.that(f"{name}: kustomize writes it", bool(objects))
        check_schemas(checks, folder, name, objects)
        checks.that(
            f"{name}: everything in its namespace",
            all(each["metadata"].get("namespace") == "anofpdm" or each["kind"] == "Namespace" for each in objects),
        )
        for what, template in pods(objects):
            check_pod(checks, what, template)
            check_program(checks, what, template, pages, folder)
            image = template["spec"]["containers"][0]["image"]
            checks.that(
                f"{what}: its image has a version",
                ":" in image.rsplit("/", 1)[-1] and not image.endswith(":latest"),
                image,
            )
        for each in objects:
            if each["kind"] == "ScaledJob":
                check_scaled(checks, each)
    for workers in ("workers-fixed", "workers-keda"):
        check_names(checks, built["base"] + built[workers] + built["monitoring"])
    checks.not_run("the manifests on a cluster", "there is no Kubernetes API here")


part("kubernetes", body)
