"""The entry point: what it refuses before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelrelease.__main__ import main


def test_a_configuration_that_is_not_there_ends_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.yaml"
    assert 2 == main(["run", "--config", str(missing)])
    assert str(missing) in capsys.readouterr().err


def test_a_configuration_is_asked_for() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run"])
    assert 2 == ended.value.code
