"""How much `smoke` tries."""

from enum import StrEnum


class Scenario(StrEnum):
    PROTOCOL = "protocol"
    SAFE_OPERATION = "safe-operation"
    FULL = "full"
