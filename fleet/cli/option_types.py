"""Types of the values that options take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from fleet.app.reports import ReportFile
from fleet.documents.durations import seconds

if TYPE_CHECKING:
    from fleet.playbook.model import Amount

REPORT_FORMATS = ("json", "jsonl", "csv", "md", "junit", "html")


class AmountType(click.ParamType["Amount"]):
    """A count or a percent: ``5`` or ``5%``."""

    name = "N|N%"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Amount:
        from fleet.playbook.model import Amount

        if isinstance(value, Amount):
            return value
        match = re.fullmatch(r"(\d{1,9}|\d{1,3}\.\d{1,3}(?=%))(%?)", str(value))
        if match is None or (match[2] and float(match[1]) > 100):
            self.fail(f"{value!r} is not a count such as 5 or a percent such as 5%", param, ctx)
        return Amount(float(match[1]), percent=bool(match[2]))


class ConcurrencyType(AmountType):
    """A count or a percent of VMs at a time; ``instead`` says what to do where nothing is to start."""

    def __init__(self, instead: str = "") -> None:
        self._instead = instead

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Amount:
        amount = super().convert(value, param, ctx)
        if not amount.value:
            self.fail(f"{value!r} would start nothing; give at least 1, or more than 0%{self._instead}", param, ctx)
        return amount


class DurationType(click.ParamType[float]):
    """A duration: ``45m``, ``1h30m``, ``90s`` or seconds."""

    name = "DURATION"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        try:
            return seconds(float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else text)
        except ValueError:
            self.fail(f"{value!r} is not a duration such as 45m, 1h30m or 90s", param, ctx)


class TimeLimitType(DurationType):
    """A duration that is not zero."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = super().convert(value, param, ctx)
        if found <= 0:
            self.fail(f"{value!r} leaves no time; give more than 0s", param, ctx)
        return found


class ReportType(click.ParamType[ReportFile]):
    """``FORMAT=FILE``."""

    name = "FORMAT=FILE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> ReportFile:
        if isinstance(value, ReportFile):
            return value
        format_, _, file = str(value).partition("=")
        if format_ not in REPORT_FORMATS or not file:
            formats = ", ".join(REPORT_FORMATS)
            self.fail(f"{value!r} is not FORMAT=FILE with a format of {formats}", param, ctx)
        return ReportFile(format_, file)
