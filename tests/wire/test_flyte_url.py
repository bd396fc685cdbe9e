"""flyte:// addresses."""

import pytest

from app import errors
from app.wire import flyte_url


@pytest.mark.parametrize(
    ("url", "attempt", "kind", "literal"),
    [
        ("flyte://v1/p/d/e/n/i", None, "i", ""),
        ("flyte://v1/p/d/e/n/o", None, "o", ""),
        ("flyte://v1/p/d/e/n/d", None, "d", ""),
        ("flyte://v1/p/d/e/n/0/i", 0, "i", ""),
        ("flyte://v1/p/d/e/n/12/d", 12, "d", ""),
        ("flyte://v1/p/d/e/n/o/o0", None, "o", "o0"),
        ("flyte://v1/p/d/e/n/i/i", None, "i", "i"),
        ("flyte://v1/p/d/e/n/3/o/my_out-1", 3, "o", "my_out-1"),
        ("flyte://v1/p/d/e/n/4294967295/o", 2**32 - 1, "o", ""),
    ],
)
def test_every_form(url: str, attempt: int | None, kind: str, literal: str) -> None:
    artifact = flyte_url.parse(url)
    run = artifact.node.execution_id
    assert (run.project, run.domain, run.name, artifact.node.node_id) == ("p", "d", "e", "n")
    assert (artifact.attempt, artifact.kind, artifact.literal) == (attempt, kind, literal)


@pytest.mark.parametrize(
    "url",
    [
        "flyte://v1/p/d/e/n",
        "flyte://v2/p/d/e/n/o",
        "flyte://v1/p/d/e/n/x",
        "flyte://v1/p/d/e/n/d/x",
        "flyte://v1/p/d/e/n/-1/i",
        "flyte://v1/p/d/e/n/a.b/i",
        "flyte://v1/p/d//n/i",
        "flyte://v1/p/d/e/n/i/",
        "flyte://v1/p/d/e/n/i\n",
        "flyte://v1/p/d/e/n/o/a/b",
        "flyte://x/flyte://v1/p/d/e/n/i",
        "flyte://v1/p/d/e/n/١/i",
        "",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        flyte_url.parse(url)
    assert caught.value.message == f"failed to parse [{url}]"


@pytest.mark.parametrize("attempt", [str(2**32), "9" * 30, "9" * 5000])
def test_an_attempt_that_no_attempt_can_have(attempt: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"strconv\.Atoi|failed to parse attempt"):
        flyte_url.parse(f"flyte://v1/p/d/e/n/{attempt}/i")
