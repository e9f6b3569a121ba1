"""Secrets leave nothing behind: what is masked in every answer, log and stored row.

Masked: bearer tokens, keys with a known shape, `NAME=value` and `"name": "value"` pairs whose name
says that the value is secret, passwords in URLs, private key blocks. Not masked: paths, code,
commands, plans, hashes and ids, because a person must be able to judge them.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

MASK = "[redacted]"

#: Names whose value is a secret, as they end in environment variables, JSON and headers.
_KEYS = ("api", "access", "private", "signing", "encryption")
_NAME = (
    rf"(?:(?:{'|'.join(_KEYS)})[_-]?key"
    r"|secret|token|passw(?:or)?d|passphrase|authorization|credentials?)"
)
#: Each of these names holds one of these.
_NAME_HINTS = (
    *(f"{kind}{between}key" for kind in _KEYS for between in ("", "_", "-")),
    *("secret", "token", "passwd", "password", "passphrase", "authorization", "credential"),
)


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    replacement: str
    #: In lower case: a text that holds none of these cannot match. To look for them costs a tenth
    #: of what the pattern costs, and most texts hold no secret.
    hints: tuple[str, ...]


def _shape(pattern: str, *hints: str) -> _Rule:
    """What is a secret by its looks."""
    return _Rule(re.compile(rf"\b{pattern}"), MASK, hints)


_RULES = (
    _Rule(
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
        MASK,
        ("private key",),
    ),
    _Rule(
        re.compile(r"\b(bearer|basic)(\s+)[a-z0-9._~+/=-]{8,}", re.IGNORECASE | re.ASCII),
        rf"\1\2{MASK}",
        ("bearer", "basic"),
    ),
    _shape(r"sk-(?:[A-Za-z0-9]+-)*[A-Za-z0-9_-]{16,}", "sk-"),
    _shape(r"[sr]k_(?:live|test)_[A-Za-z0-9]{10,}", "k_live_", "k_test_"),
    _shape(r"gh[pousr]_[A-Za-z0-9]{20,}", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    _shape(r"github_pat_[A-Za-z0-9_]{20,}", "github_pat_"),
    _shape(r"glpat-[A-Za-z0-9_-]{16,}", "glpat-"),
    _shape(r"xox[abprs]-[A-Za-z0-9-]{10,}", "xox"),
    _shape(r"(?:AKIA|ASIA)[A-Z0-9]{16}\b", "akia", "asia"),
    _shape(r"AIza[A-Za-z0-9_-]{30,}", "aiza"),
    _shape(r"npm_[A-Za-z0-9]{30,}", "npm_"),
    _shape(r"pypi-[A-Za-z0-9_-]{30,}", "pypi-"),
    _shape(r"hf_[A-Za-z0-9]{20,}", "hf_"),
    _shape(r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}", "eyj"),
    _Rule(
        re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]+:)[^\s/@]{3,}(@)", re.IGNORECASE | re.ASCII),
        rf"\1{MASK}\2",
        ("://",),
    ),
    # NAME="value", "name": "value": a quoted literal under a secret's name. What begins with a
    # blank or a comma is not in these quotes but between two others, as in `f("token: ", x, "!")`.
    _Rule(
        re.compile(
            rf"({_NAME}[\"']?\s*[=:]\s*)([\"'])"
            r"(?!\[redacted\]\2)(?=[^\s,.;:+%)\]}])(?:(?!\2)[^\n]){6,}(?<!\s)\2",
            re.IGNORECASE | re.ASCII,
        ),
        rf"\1\2{MASK}\2",
        _NAME_HINTS,
    ),
    # NAME=value as in an environment or a query: without quotes it must look like a secret, or
    # `token: Optional[str]` in a piece of code would be masked. That is a digit in it, where there
    # are dots (`self.oauth2`) a version before them or several digits, or an upper-case name.
    _Rule(
        re.compile(
            rf"({_NAME}\s*[=:]\s*)"
            r"(?=[a-z_+/=-]*[0-9][a-z0-9_+/=-]*+(?!\.\w)|v[0-9]+\.|(?:[a-z_+/=.-]*[0-9]){4})"
            r"(?=[a-z0-9_+/=.-]{8})[a-z0-9_+/=-]++(?:\.[a-z0-9_+/=-]++)*+(?![\w(\[])",
            re.IGNORECASE | re.ASCII,
        ),
        rf"\1{MASK}",
        _NAME_HINTS,
    ),
    _Rule(
        re.compile(
            r"((?:KEY|SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIALS?)=)"
            r"(?![\[\"'$])[^\s;&|]{6,}"
        ),
        rf"\1{MASK}",
        ("key=", "secret=", "token=", "password=", "passwd=", "credential"),
    ),
)

_ALL_HINTS = frozenset(hint for rule in _RULES for hint in rule.hints)
#: Where `token=` is, `token` is.
_HINTS = tuple(hint for hint in _ALL_HINTS if not any(one in hint for one in _ALL_HINTS - {hint}))


def redact(text: str) -> str:
    """`text` with secrets replaced by `[redacted]`; everything else is left to the letter."""
    if not _may_hold_secrets(text):
        return text
    lowered = text.lower()
    for rule in _RULES:
        if any(hint in lowered for hint in rule.hints):
            text = rule.pattern.sub(rule.replacement, text)
    return text


def _may_hold_secrets(text: str) -> bool:
    lowered = text.lower()
    for hint in _HINTS:  # noqa: SIM110  `any` takes three times as long over a short text
        if hint in lowered:
            return True
    return False


def redact_json(value: object) -> object:
    """JSON data with every string in it redacted, and what stands under a secret's name masked."""
    # All texts in one go: to look for each hint in fifty of them takes longer than in their sum.
    texts: list[str] = []
    if _gather(value, texts) or _may_hold_secrets("\n".join(texts)):
        return _redacted(value)
    return value


def _gather(value: object, texts: list[str]) -> bool:
    """Put every text of `value` into `texts`. Whether something stands under a secret's name."""
    named = False
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            masked = _can_be_secret(item) and _is_secret_name(key)
            named |= masked or _gather(item, texts)
    elif isinstance(value, list | tuple):
        for item in value:
            named |= _gather(item, texts)
    return named


def _redacted(value: object) -> object:
    match value:
        case str():
            return redact(value)
        case dict():
            return {
                key: MASK if _can_be_secret(item) and _is_secret_name(key) else _redacted(item)
                for key, item in value.items()
            }
        case list() | tuple():
            return [_redacted(item) for item in value]
        case _:
            return value


def _can_be_secret(item: object) -> bool:
    """Whether it is masked for its name alone. Yes and no give nothing away."""
    return isinstance(item, str | int | float) and not isinstance(item, bool)


_SECRET_NAME = re.compile(rf"(?:^|[_-]){_NAME}$", re.IGNORECASE)


@lru_cache(maxsize=1024)
def _is_secret_name(name: object) -> bool:
    return isinstance(name, str) and _SECRET_NAME.search(name) is not None
