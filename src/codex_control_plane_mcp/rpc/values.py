"""JSON as Python types. Not a parser: `json` reads, this only gives the values a name."""

from collections.abc import Mapping, Sequence

#: What `json.loads` returns.
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
JsonObject = dict[str, Json]
#: What may be given to `json.dumps`: wider, because a reader need not own what it sends.
Sendable = None | bool | int | float | str | Sequence["Sendable"] | Mapping[str, "Sendable"]
