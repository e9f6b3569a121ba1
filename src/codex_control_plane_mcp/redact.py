"""Secrets leave nothing behind: what is masked in every answer, log and stored row.

Masked: bearer tokens, keys with a known shape, `NAME=value` and `"name": "value"` pairs whose name
says that the value is secret, passwords in URLs, private key blocks. Not masked: paths, code,
commands, plans, hashes and ids, because a person must be able to judge them.
"""

import re

MASK = "[redacted]"

#: Names whose value is a secret, as they end in environment variables, JSON and headers.
_NAME = r"(?:api[_-]?key|secret|token|passw(?:or)?d|passphrase|authorization|credentials?)"

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
        MASK,
    ),
    (re.compile(r"\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1\2{MASK}"),
    (re.compile(r"\bsk-(?:[A-Za-z0-9]+-)*[A-Za-z0-9_-]{16,}"), MASK),
    (re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"), MASK),
    (re.compile(r"\bglpat-[A-Za-z0-9_-]{16,}|\bxox[abprs]-[A-Za-z0-9-]{10,}"), MASK),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{30,}"), MASK),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"), MASK),
    (
        re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]+:)[^\s/@]{3,}(@)", re.IGNORECASE),
        rf"\1{MASK}\2",
    ),
    # NAME="value", "name": "value": a quoted literal under a secret's name.
    (
        re.compile(
            rf"(\b[\w-]*{_NAME}[\"']?\s*[=:]\s*)([\"'])(?!\[redacted\])[^\"'\s]{{6,}}\2",
            re.IGNORECASE,
        ),
        rf"\1\2{MASK}\2",
    ),
    # NAME=value as in an environment or a query: without quotes it must look like a secret (a digit
    # in it, or an upper-case name), or `token: Optional[str]` in a piece of code would be masked.
    (
        re.compile(
            rf"(\b[\w-]*{_NAME}\s*[=:]\s*)(?=[A-Za-z_+/=-]*[0-9])[A-Za-z0-9_+/=-]{{8,}}(?![\w.(\[])",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (
        re.compile(
            r"(\b[A-Z0-9_]*(?:KEY|SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIALS?)=)(?![\[\"'$])[^\s;&|]{6,}"
        ),
        rf"\1{MASK}",
    ),
)

#: A text that matches none of these substrings holds nothing that a rule could match.
_HINT = re.compile(
    r"PRIVATE KEY|bearer|basic|sk-|gh[pousr]_|github_pat_|glpat-|xox|AKIA|ASIA|AIza|eyJ|://"
    rf"|{_NAME}",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """`text` with secrets replaced by `[redacted]`; everything else is left to the letter."""
    if not _HINT.search(text):
        return text
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def redact_json(value: object) -> object:
    """JSON data with every string in it redacted, and what stands under a secret's name masked."""
    match value:
        case str():
            return redact(value)
        case dict():
            return {
                key: MASK if isinstance(item, str) and _is_secret_name(key) else redact_json(item)
                for key, item in value.items()
            }
        case list() | tuple():
            return [redact_json(item) for item in value]
        case _:
            return value


_SECRET_NAME = re.compile(rf"(?:^|[_-]){_NAME}$", re.IGNORECASE)


def _is_secret_name(name: object) -> bool:
    return isinstance(name, str) and _SECRET_NAME.search(name) is not None
