"""What a person is told when a hand is needed: once when it happens, once when it is mended; names, counts and commands, no value."""

from __future__ import annotations

import json
import logging
import os
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flows import report
from flows.cadence import lateness
from ingestion.census import read_bricks
from ingestion.disk import write_whole
from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.lake import Lake, LakeError
from ingestion.territory import read_territory
from redistribution.withheld import still_withheld

log = logging.getLogger("orchestra")
ADDRESSES = ("ORCHESTRA_ALERT_WEBHOOK", "ORCHESTRA_ALERT_MAIL")
SECONDS = 20  # that an address has to answer
# What a run ends as that no load or mart is told for.
BROKEN = (report.FAILED, "Crashed", "TimedOut")


def tell(lake: Lake, run: str = "", state: str = "") -> list[str]:
    """Tell what stands since the last time, and what is mended; give the messages that were sent.

    `run` has ended in `state`. What could not be sent is told the next time; raises LakeError then.
    """
    sent = []
    with lake.lock("alerts", wait=60):
        path = lake.state_path("alerts.json")
        told = _told_before(path)
        now = standing(lake) | {key: text for key, text in told.items() if key.startswith("run ") and key != f"run {run}"}
        if state in BROKEN:
            now[f"run {run}"] = f"The run {run} ended as {state}. See it in Prefect, and: orchestra status"
        messages = [(key, text) for key, text in now.items() if key not in told]
        messages += [(key, f"Mended: {key}.") for key in told.keys() - now.keys()]
        failed: LakeError | None = None
        for key, text in messages:
            is_sent, failed = send(text)
            if not is_sent:
                break
            sent.append(text)
            told = {**told, key: text} if key in now else {name: of for name, of in told.items() if name != key}
            write_whole(path, json.dumps(told).encode())  # one by one: what is sent is not sent again when the next one fails
            if failed:
                break
    if failed:
        raise failed
    return sent


def _told_before(path: Path) -> dict[str, str]:
    """Read what was told; nothing, and said, when it is broken: a message twice is better than none."""
    try:
        told: dict[str, str] = json.loads(path.read_bytes()) if path.exists() else {}
    except ValueError:
        log.warning("%s cannot be read: what stands is told again", path)
        return {}
    return told


def standing(lake: Lake) -> dict[str, str]:
    """Say, by what it is of, what waits for a hand: loads refused or not whole, bricks that are late, marts withheld."""
    journal, found = Journal(lake), {}
    for name, brick in read_bricks().items():
        for load in journal.refused(name):
            counts = report.row_counts([load])
            told = (
                f"Load {load['load_id']} of {name} is refused: {counts['kept']:,} rows wait, {counts['refused']:,} are refused themselves."
            )
            found[f"load {load['load_id']}"] = f"{told} See: orchestra loads show {load['load_id']}"
        for load_id, files in journal.unread(name).items():
            told = f"Load {load_id} of {name} is not whole: {len(files)} files could not be read."
            found[f"load {load_id}"] = f"{told} See: orchestra loads show {load_id}"
        if late := lateness(journal, brick):
            found[f"brick {name}"] = f"Brick {name} is late: {late}. See: orchestra status"
    for name, record in still_withheld(journal).items():
        told = f"Mart {name} is withheld, for {len(record['reasons'])} reasons; readers keep the last good one."
        found[f"mart {name}"] = f"{told} See: orchestra status; as it is: orchestra marts accept {name} --why '...'"
    return found


def is_addressed() -> bool:
    """Say whether there is anybody to tell."""
    return any(os.environ.get(name) for name in ADDRESSES)


def send(text: str) -> tuple[bool, LakeError | None]:
    """Send a message to ORCHESTRA_ALERT_WEBHOOK, and by mail to ORCHESTRA_ALERT_MAIL.

    Gives whether one of them took it, so that it is not sent again, and what kept the other from it (no address, no secret).
    """
    taken, failed = 0, None
    for way in (_to_webhook, _by_mail):
        try:
            taken += way(f"{read_territory().name}: {text}")
        except LakeError as error:
            failed = error
    if not is_addressed():
        log.warning("nobody is told, for neither %s is set: %s", " nor ".join(ADDRESSES), text)
    return bool(taken), failed


def _to_webhook(told: str) -> bool:
    hook = os.environ.get(ADDRESSES[0])
    if hook:
        headers = {"Content-Type": "application/json"}
        if token := os.environ.get("ORCHESTRA_ALERT_TOKEN"):
            headers["Authorization"] = f"Bearer {token}"
        try:
            urllib.request.urlopen(urllib.request.Request(hook, json.dumps({"text": told}).encode(), headers), timeout=SECONDS).close()
        except (OSError, ValueError) as error:
            status = f" {error.code}" if isinstance(error, urllib.error.HTTPError) else ""
            raise LakeError(f"ORCHESTRA_ALERT_WEBHOOK does not take the alert ({type(error).__name__}{status}). Mend: check it") from None
    return bool(hook)


def _by_mail(told: str) -> bool:
    if mail := os.environ.get(ADDRESSES[1]):
        send_mail(mail, told.partition(". ")[0][:120], told)
    return bool(mail)


def send_refusals(lake: Lake, load: Entry, rows: dict[str, list[dict[str, object]]]) -> int:
    """Send the refused rows of a load to who deposits it (ORCHESTRA_DEPOSITOR_<BRICK>), as a file; give how many.

    An address is not typed in a form: rows of a brick would go wherever one likes.
    """
    variable = f"ORCHESTRA_DEPOSITOR_{load['brick'].upper()}"
    if not (address := os.environ.get(variable)):
        raise LakeError(f"nobody is known who deposits {load['brick']}. Mend: set {variable} to a mail address")
    lines = ["table;file;row;line;why"]
    for table, found in rows.items():
        for row in found:
            cells = (table, row["file"], row["row"], row.get("line", ""), row["reason"])
            lines.append(";".join('"' + str(cell).replace('"', '""') + '"' for cell in cells))
    count, refused = len(lines) - 1, sum(record["refused"] for record in load["tables"].values())
    share = f"{count:,} rows" if count == refused else f"the first {count:,} of {refused:,} rows"
    whole = f"Of what you delivered to {read_territory().name} ({load['brick']}), {refused:,} rows were refused"
    told = f"{whole}; here are {share}, each with its reason."
    name = f"refused-{load['load_id']}.csv"
    send_mail(address, f"{load['brick']}: {refused:,} rows refused", told, {name: "\n".join(lines)})
    return count


def send_mail(to: str, subject: str, text: str, files: dict[str, str] | None = None) -> None:
    """Send a mail through ORCHESTRA_SMTP (smtp://user:password@host:port, or smtps://), from ORCHESTRA_MAIL_FROM; raises LakeError."""
    parts = urlsplit(os.environ.get("ORCHESTRA_SMTP", "smtp://127.0.0.1:25"))
    message = EmailMessage()
    message["To"], message["Subject"] = to, subject
    message["From"] = os.environ.get("ORCHESTRA_MAIL_FROM") or "city-orchestra@localhost"
    message.set_content(text)
    for name, content in (files or {}).items():
        message.add_attachment(content.encode("utf-8-sig"), maintype="text", subtype="csv", filename=name)
    try:
        host, port, secure = parts.hostname or "127.0.0.1", parts.port or 0, ssl.create_default_context()
        is_own = host in ("127.0.0.1", "localhost", "::1")
        with (
            smtplib.SMTP_SSL(host, port, timeout=SECONDS, context=secure)
            if parts.scheme == "smtps"
            else smtplib.SMTP(host, port, timeout=SECONDS)
        ) as server:
            server.ehlo_or_helo_if_needed()
            if parts.scheme != "smtps" and server.has_extn("starttls"):
                server.starttls(context=secure)
            elif parts.scheme != "smtps" and not is_own:
                raise LakeError("ORCHESTRA_SMTP would send in clear: its server has no STARTTLS. Mend: smtps://, or a relay on 127.0.0.1")
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.send_message(message)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise LakeError(f"ORCHESTRA_SMTP does not take the mail ({type(error).__name__}). Mend: check it") from None


def names_of(states: Iterable[str]) -> set[str]:
    """Give the events of Prefect that tell that a run has come to one of these states."""
    return {f"prefect.flow-run.{state}" for state in states}
