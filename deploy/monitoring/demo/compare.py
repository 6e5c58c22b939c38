"""What is said of a run in three places: `anofpdm status --json`, the page of metrics, and the report at the end."""

import json

from fleet import SLICES_A_RECORD, total


def status_and_page(status, page):
    """What differs between a status and a page of the same moment, in words."""
    live = status["live"]
    pairs = [
        ("paused", live["paused"], total(page, "anofpdm_paused")),
        ("work done", live["work"]["done"], total(page, "anofpdm_stage_work", stage=live["stage"], state="done")),
        ("work planned", live["work"]["total"], total(page, "anofpdm_stage_work", stage=live["stage"], state="planned")),
        ("workers", len(live["workers"]), total(page, "anofpdm_workers")),
        ("contested keys", live["verdicts"]["contested"], total(page, "anofpdm_contested_records")),
    ]
    for state in ("queued", "leased", "retrying", "dead"):
        pairs.append((f"shards {state}", live["shards"][state], total(page, "anofpdm_shards", state=state)))
    return [f"{what}: status has {told}, the page {found:g}" for what, told, found in pairs if float(told) != found]


def counters_and_summary(pages, summary):
    """What differs between the counters of all coordinators of a run, each at its end, and the report; with the number compared."""
    coverage, cost, audits = summary["coverage"], summary["cost"], summary["audits"]

    def counted(name, **labels):
        return sum(total(page, name, **labels) for page in pages)

    # The report counts slices, and a record holds a whole batch of them: batches are full here.
    def slices(outcome):
        return SLICES_A_RECORD * counted("anofpdm_records_total", stage="score", outcome=outcome)

    pairs = [
        ("records that count", coverage["scored"], slices("counted")),
        ("duplicates", coverage["duplicates"], slices("duplicate")),
        ("conflicts", coverage["conflicts"], slices("conflict")),
        ("audits", audits["shards"], counted("anofpdm_audits_total")),
        ("audits that agreed", audits["agreed"], counted("anofpdm_audits_total", outcome="agreed")),
        ("network evaluations", cost["network_evaluations"], counted("anofpdm_evaluations_total", kind="slice")),
        ("padding", cost["padding"], counted("anofpdm_evaluations_total", kind="padding")),
        ("repeated evaluations", cost["repeated_evaluations"], counted("anofpdm_evaluations_total", kind="repeated")),
        ("device seconds", cost["device_seconds"], counted("anofpdm_device_seconds_total")),
    ]
    wrong = [f"{what}: the report has {told}, the counters {found:g}" for what, told, found in pairs if abs(float(told) - found) > 1e-6 * max(1.0, abs(found))]
    return wrong, len(pairs)


def page_of(prometheus_answer):
    """Series as Prometheus has them, in the form of a page."""
    return {(labels.pop("__name__"), tuple(sorted(labels.items()))): value for labels, value in prometheus_answer}


def in_words(status):
    """A line of a status for a person."""
    live = status["live"]
    return json.dumps({"stage": live["stage"], **{key: live["work"][key] for key in ("done", "total")}, "workers": len(live["workers"])})
