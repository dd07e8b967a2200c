"""The desk of operator and steward, in Prefect: alerts that follow each run, and forms that decide on a load or a mart."""

from __future__ import annotations

from typing import Any, Literal

import prefect
from prefect import flow
from prefect.events import DeploymentEventTrigger
from prefect.states import Completed

from flows import alerts, report
from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.lake import Lake, LakeError
from ingestion.steward import accept_load, drop_load, refused_rows
from redistribution.withheld import accept_mart

ALL_ROWS = 100_000  # refused rows that a file for the depositor holds, by table
# A run tells by the name of its state how it ended; so does its event.
ENDS = sorted(alerts.names_of({*report.VERDICTS, *alerts.BROKEN}))


@flow(name="alerts", flow_run_name="after-{run}")
def tell(run: str = "", state: str = "") -> Any:
    """Tell who is to be told what needs a hand since the last time, and what is mended.

    Args:
        run: the run that has ended, none for a look at the lake alone
        state: what it ended as
    """
    sent = alerts.tell(Lake(), run, state)
    if not alerts.is_addressed():
        return Completed(name="Nobody to tell", message=f"Mend: set {' or '.join(alerts.ADDRESSES)}")
    return Completed(name="Told" if sent else "Nothing to tell", message="\n".join(sent) or "nothing since the last time")


@flow(name="decide-on-a-load", flow_run_name="{decision}-{load}")
def decide_on_a_load(load: str, decision: Literal["accept", "drop and read again", "drop and give up"], why: str) -> Any:
    """Accept or drop a load, as `orchestra loads accept` and `drop` do.

    Args:
        load: its name, as `orchestra loads list` and the message of the run say it
        decision: accept it as it is; drop it, and its source is read again; drop it, and its rows are given up
        why: the reason, which the journal keeps
    """
    lake, journal, found = _of_load(load)
    if not why.strip():
        raise LakeError("why is empty. Mend: say the reason, which the journal keeps")
    if decision == "accept":
        seq = accept_load(lake, journal, found, why)
    else:
        seq = drop_load(lake, journal, found, refetch=decision == "drop and read again", why=why)
    return Completed(message=f"load {load}: {decision} (journal entry {seq}); the next run builds and publishes{_telling(lake)}")


@flow(name="accept-a-mart", flow_run_name="accept-{mart}")
def accept_a_mart(mart: str, why: str) -> Any:
    """Publish what is withheld of a mart as it is, once, as `orchestra marts accept` does.

    Args:
        mart: its name
        why: the reason, which the journal keeps
    """
    if not why.strip():
        raise LakeError("why is empty. Mend: say the reason, which the journal keeps")
    lake = Lake()
    seq = accept_mart(lake, Journal(lake), mart, why)
    return Completed(message=f"mart {mart} accepted (journal entry {seq}); the next run publishes it{_telling(lake)}")


@flow(name="send-refusals", flow_run_name="send-refusals-{load}")
def send_refusals(load: str) -> Any:
    """Send the refused rows of a load, with their reasons, to who deposits its brick (ORCHESTRA_DEPOSITOR_<BRICK>).

    Args:
        load: its name
    """
    lake, _, found = _of_load(load)
    count = alerts.send_refusals(lake, found, refused_rows(lake, found, ALL_ROWS))
    return Completed(message=f"load {load}: {count} refused rows sent to who deposits {found['brick']}")


def deployments() -> list[Any]:
    """Give the alerts, which follow each run by an automation, and the forms."""
    ended = DeploymentEventTrigger(
        name="alerts after each run",
        expect=ENDS,
        match_related={"prefect.resource.role": "flow", "prefect.resource.name": "city-orchestra"},
        parameters={"run": "{{ event.resource['prefect.resource.name'] }}", "state": "{{ event.resource['prefect.state-name'] }}"},
    )
    return [
        tell.to_deployment(name="alerts", triggers=[ended]),
        *(form.to_deployment(name="form") for form in (decide_on_a_load, accept_a_mart, send_refusals)),
    ]


def _telling(lake: Lake) -> str:
    """Tell who is to be told; what is decided stands, whether they can be reached or not."""
    try:
        alerts.tell(lake)
    except LakeError as error:
        return f". {error}"
    return ""


def _of_load(load: str) -> tuple[Lake, Journal, Entry]:
    lake = Lake()
    journal = Journal(lake)
    if load not in (loads := journal.loads()):
        prefect.get_run_logger().info("loads that there are: %s", ", ".join(loads))
        raise LakeError(f"no load '{load}' in {lake.root}. Mend: take its name from `orchestra loads list`")
    return lake, journal, journal.whole(loads[load])
