"""Redis as deploy/redis sets it up: its settings, its users, and an encrypted port with an authority of its own."""

import shutil
import socket
import ssl
import subprocess
from pathlib import Path

from processes import wait_for

DEPLOY = Path(__file__).resolve().parents[2]


class QueueServer:
    def __init__(self, processes, folder):
        self.processes, self.folder = processes, Path(folder).resolve()
        self.folder.mkdir(parents=True)
        subprocess.run([DEPLOY / "redis/set-passwords.sh", self.folder], check=True, stdout=subprocess.DEVNULL)
        shutil.copy(DEPLOY / "redis/redis.conf", self.folder)
        self.certify()
        self.process, self.port = processes.server("redis", self.command, self.answers, self.folder)

    def certify(self):
        """An authority and a certificate for this machine, thrown away with the folder; as deploy/redis/README.md has it."""
        (self.folder / "san").write_text("subjectAltName=IP:127.0.0.1\n")
        for words in (
            'req -x509 -newkey ed25519 -nodes -days 2 -keyout ca.key -out ca.pem -subj',
            'req -newkey ed25519 -nodes -keyout server.key -out server.csr -subj',
        ):
            name = "/CN=authority of a demonstration" if "x509" in words else "/CN=127.0.0.1"
            self.openssl(*words.split(), name)
        self.openssl(*"x509 -req -in server.csr -CA ca.pem -CAkey ca.key -days 2 -extfile san -out server.pem".split())

    def openssl(self, *words):
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def command(self, port):
        tls = ["--port", 0, "--tls-port", port, "--tls-cert-file", "server.pem", "--tls-key-file", "server.key"]
        tls += ["--tls-ca-cert-file", "ca.pem", "--tls-auth-clients", "no"]
        return ["redis-server", "redis.conf", *tls]

    def answers(self, port):
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        context.check_hostname = False
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as plain:
                with context.wrap_socket(plain) as link:
                    link.sendall(b"PING\r\n")
                    return link.recv(64).startswith(b"-NOAUTH")
        except (OSError, ssl.SSLError):
            return False

    def stop(self):
        self.process.kill()
        self.process.wait()

    def start_again(self):
        self.process = self.processes.start("redis", self.command(self.port), self.folder)
        wait_for("Redis", lambda: self.answers(self.port))

    def url(self, user):
        return f"rediss://{user}@127.0.0.1:{self.port}"

    def access(self, user):
        """Environment of a program that comes as this user."""
        return {
            "ANOFPDM_REDIS_PASSWORD_FILE": str(self.folder / f"{user}.password"),
            "ANOFPDM_REDIS_CA": str(self.folder / "ca.pem"),
        }

    def exporter(self):
        """Starts the exporter of Redis; returns its port."""
        _, port = self.processes.server(
            "redis-exporter",
            lambda port: [
                *["prometheus-redis-exporter", "-redis.addr", f"rediss://127.0.0.1:{self.port}", "-redis.user", "metrics"],
                *["-tls-ca-cert-file", self.folder / "ca.pem", "-config-command", "-", "-web.listen-address", f"127.0.0.1:{port}"],
            ],
            self.reachable,
            REDIS_PASSWORD=(self.folder / "metrics.password").read_text().strip(),
        )
        return port

    @staticmethod
    def reachable(port):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
            return True
        except OSError:
            return False
