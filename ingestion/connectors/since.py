"""From where on a source is asked for rows: what the cursor has reached, less the lookback, as the source writes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from ingestion.connectors import Request, Strict, source_name

EPOCHS = {"epoch_s": 1, "epoch_ms": 1000}


class Since(Strict):
    """The parameter that asks for rows from a value of the cursor on.

    `format` is how an instant is written, in UTC (`epoch_s`, `epoch_ms`: a number), `template` what the parameter holds around it
    (`phenomenonTime ge {since}`), `initial` what is asked the first time: without it, everything is.
    """

    parameter: str
    format: str = "%Y-%m-%dT%H:%M:%SZ"
    template: str = "{since}"
    initial: str | int | None = None


def asked_since(request: Request, since: Since) -> str | None:
    """Give the value of the parameter for the next reading; None where everything is asked."""
    reached = request.position.get("cursor")
    if request.whole or not request.cursor or reached is None:
        return None if since.initial is None else _in(since, str(since.initial))
    if request.cursor not in {source_name(name) for name in request.typed}:
        return _in(since, str(reached))  # a text: what looks like a number keeps its zeros
    if _is_number(reached):
        return _in(since, f"{Decimal(str(reached)).normalize():f}")
    moment = moment_of(str(reached)) - timedelta(days=request.lookback_days)
    if since.format in EPOCHS:
        return _in(since, str(int(moment.timestamp() * EPOCHS[since.format])))
    is_day = len(str(reached)) == len("2025-01-01")
    moment = moment if is_day else moment.astimezone(UTC)
    return _in(since, moment.strftime("%Y-%m-%d" if is_day and "format" not in since.model_fields_set else since.format))


def _in(since: Since, value: str) -> str:
    return since.template.replace("{since}", value)


def _is_number(reached: Any) -> bool:
    try:
        Decimal(str(reached))
    except ArithmeticError:
        return False
    return True


def moment_of(text: str) -> datetime:
    """Read an instant or a day, in UTC where it does not say; raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
