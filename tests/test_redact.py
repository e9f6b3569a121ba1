"""Secrets are masked; what a person must judge is left to the letter."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_control_plane_mcp.redact import _RULES, MASK, redact, redact_json

#: Made up, in the shape of the real ones, and in two parts lest a scanner takes them for such.
SECRETS = {
    "OpenAI": "sk-" + "abcdefghijklmnopqrstuvwxyz012345",
    "OpenAI project": "sk-proj-" + "Ab1_-cdefghijklmnopqrstuvwxyz",
    "Anthropic": "sk-ant-api03-" + "abcdefghijklmnopqrstuvwx",
    "GitHub": "ghp_" + "abcdefghijklmnopqrstuvwxyz0123456789",
    "GitHub app": "ghs_" + "abcdefghijklmnopqrstuvwxyz0123456789",
    "GitHub fine-grained": "github_pat_" + "11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz",
    "GitLab": "glpat-" + "abcdefghij0123456789",
    "Slack": "xoxb-" + "123456789012-abcdefghijkl",
    "AWS": "AKIA" + "ABCDEFGHIJ234567",
    "Google": "AIza" + "SyabcdefghijklmnopqrstuvwxyzABCDEFG",
    "Stripe": "sk_" + "live_abcdefghijklmnop0123456789",
    "Stripe, restricted": "rk_" + "live_abcdefghijklmnop0123456789",
    "npm": "npm_" + "abcdefghijklmnopqrstuvwxyz0123456789",
    "PyPI": "pypi-" + "AgEIcHlwaS5vcmcCJDAwMDAwMDAwLTAwMDAtMDAwMA",
    "Hugging Face": "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH",
    "JWT": "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop",
}
#: Where a secret stands; what is around it stays.
PLACES = [
    "{}",
    "The key is {}.",
    "({})",
    "'{}'",
    "Authorization: Bearer {}",
    "authorization: bearer {}",
    "curl -H 'Authorization: Bearer {}' https://example.org/v1/x?y=1#z",
    "OPENAI_API_KEY={} make test",
    "export API_TOKEN={}\n",
    '{{"apiKey": "{}", "name": "roof"}}',
    "api_key: '{}'",
    "git clone https://user:{}@example.org/roof.git",
]

NAMED = [
    ("password: 'hunter22'", "password: '[redacted]'"),
    ("DB_PASSWORD=correct-horse run", "DB_PASSWORD=[redacted] run"),
    ('"client_secret": "open sesame 7"', '"client_secret": "[redacted]"'),
    ("passphrase: 'correct horse battery'", "passphrase: '[redacted]'"),
    ("""password = "it's a secret" """, 'password = "[redacted]" '),
    ("SIGNING_KEY=abc123456789xyz", "SIGNING_KEY=[redacted]"),
    ("signing-key: abc123456789xyz", "signing-key: [redacted]"),
    (
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY",
        "aws_secret_access_key = [redacted]",
    ),
    ("?token=v1.abcdefghijkl&x=1", "?token=[redacted]&x=1"),
    ("token=abc-1234567-foo.bar end", "token=[redacted] end"),
    ("The token: abcd1234. Then go on.", "The token: [redacted]. Then go on."),
    ('"client_secret": "opensesame"', '"client_secret": "[redacted]"'),
    ("x-api-key: 0123456789abcdef", "x-api-key: [redacted]"),
    ("?token=abcdef123456&page=2", "?token=[redacted]&page=2"),
    ("GITHUB_TOKEN=abcdefgh; ls", "GITHUB_TOKEN=[redacted]; ls"),
    ("postgres://me:s3cr3t@db:5432/roof", "postgres://me:[redacted]@db:5432/roof"),
    ("Basic dXNlcjpwYXNzd29yZA==", "Basic [redacted]"),
]

#: What a person must be able to read; some of it looks like a secret at the first glance.
HARMLESS = [
    "/home/ann/secret-project/token.py:12",
    "C:\\Users\\ann\\passwords\\readme.txt",
    "git commit -m 'Add token parsing'",
    "def token(self) -> str: return self._token",
    "token: Optional[str] = None",
    "secret = load_secret(path)",
    "api_key = os.environ['OPENAI_API_KEY']",
    'password = input("Password: ")',
    'print("token: ", value_of_it, "!")',
    'raise ValueError("bad token: " + shortened + "...")',
    "token = self.oauth2.token",
    "secret = load_secret2(path)",
    "token = config.auth2.load(name)",
    'tokens = {"is_secret": False}',
    "if token == expected_token:",
    "primary_key: customer_id",
    "hf_hub_download(repo)",
    "npm_config_cache=/tmp",
    "export OPENAI_API_KEY=$KEY",
    'echo "${API_TOKEN}"',
    "max_tokens=4096, total_tokens: 123456789",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "commit da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "op_018bcfe568009f86d08188 thread 0199a213-81c0-7800-8aa1-bbab2a035a53",
    "https://example.org:8443/a/b?c=d&e=f#g",
    "ssh://git@example.org:22/roof.git",
    "pip install flask-sqlalchemy==3.1.1",
    "task-management-and-scheduling-of-things",
    "Basic rules and bearer bonds.",
    "1. Read the passwords chapter\n2. Write the tokenizer",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
]

KEY_BLOCK = (
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\nAAAA\n-----END OPENSSH PRIVATE KEY-----"
)

#: What the rules look for, in pieces.
HINTS = ["bearer ", "Basic ", "sk-", "ghp_", "://", "user:", "@", "token", "secret=", "API_KEY="]
HINTS += [
    "password",
    ": ",
    "=",
    '"',
    "'",
    "SIGNING_KEY=",
    "access-key",
    "a1.b2",
    "\u212a",
    "\u0131",
]

#: Texts full of what the rules look for, whole and in pieces.
tricky = st.lists(
    st.sampled_from(
        [
            *SECRETS.values(),
            *HARMLESS,
            *(text for text, _ in NAMED),
            KEY_BLOCK,
            *HINTS,
            MASK,
            " ",
            "\n",
        ]
    )
    | st.text(max_size=12),
    max_size=8,
).map("".join)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_masked_wherever_it_stands(kind: str, place: str) -> None:
    secret = SECRETS[kind]
    masked = redact(place.format(secret))
    assert secret not in masked
    assert secret[-8:] not in masked
    assert masked == place.format(MASK)


@pytest.mark.parametrize(("text", "masked"), NAMED)
def test_what_stands_under_a_secrets_name_is_masked_and_the_name_is_not(
    text: str, masked: str
) -> None:
    assert redact(text) == masked


def test_a_private_key_is_masked_whole_even_when_it_is_cut_off() -> None:
    assert redact(f"before\n{KEY_BLOCK}\nafter") == f"before\n{MASK}\nafter"
    assert redact(f"before\n{KEY_BLOCK[:60]}") == f"before\n{MASK}"


@pytest.mark.parametrize("text", HARMLESS)
def test_what_a_person_must_judge_is_left_to_the_letter(text: str) -> None:
    assert redact(text) == text


@given(
    text=st.text(
        # Without these letters none of the hints can be spelt, in any case of letters.
        st.characters(exclude_characters="kKsS:Tt\u212a\u017fYyZzEeCcOo", codec="utf-8")
    )
)
def test_a_text_without_any_hint_of_a_secret_is_left_to_the_letter(text: str) -> None:
    assert redact(text) == text


@given(text=st.text())
def test_what_is_not_masked_stays_where_it_was(text: str) -> None:
    masked = redact(text)
    assert masked == text or MASK in masked


@given(text=tricky)
def test_whatever_a_rule_would_mask_is_masked(text: str) -> None:
    """The hints only spare the search: they keep nothing from it."""
    masked = text
    for rule in _RULES:
        masked = rule.pattern.sub(rule.replacement, masked)
    assert redact(text) == masked


@given(text=tricky)
def test_what_was_masked_once_is_masked_for_good(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@given(text=tricky, kind=st.sampled_from(sorted(SECRETS)))
def test_a_secret_on_a_line_of_its_own_is_masked_whatever_is_around_it(
    text: str, kind: str
) -> None:
    line = f"\n{SECRETS[kind]}\n"
    assert line not in redact(f"{text}{line}{text}")


@given(text=tricky)
def test_json_of_one_string_is_the_string_redacted(text: str) -> None:
    assert redact_json(text) == redact(text)
    assert redact_json([text, {"words": text}]) == [redact(text), {"words": redact(text)}]


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("abc 123", max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["a", "b", "list"]), inner),
    max_leaves=10,
)


@given(data=json_data)
def test_json_without_secrets_stays_equal(data: object) -> None:
    assert redact_json(data) == data


def test_json_is_masked_at_every_depth_and_under_every_secret_name() -> None:
    secret = SECRETS["OpenAI"]
    data = {
        "env": {"OPENAI_API_KEY": "short", "PATH": "/bin", "token": 5, "db-password": "x"},
        "pin": {"secret": 1.5, "is_secret": False, "password": None},
        "command": ["curl", "-H", f"Authorization: Bearer {secret}"],
        "pair": (secret, 1.5),
        "tokens": "three",
    }
    masked = redact_json(data)
    assert masked == {
        "env": {"OPENAI_API_KEY": MASK, "PATH": "/bin", "token": MASK, "db-password": MASK},
        "pin": {"secret": MASK, "is_secret": False, "password": None},
        "command": ["curl", "-H", f"Authorization: Bearer {MASK}"],
        "pair": [MASK, 1.5],
        "tokens": "three",
    }
    assert secret not in json.dumps(masked)
    assert data["env"]["OPENAI_API_KEY"] == "short"  # type: ignore[index]
