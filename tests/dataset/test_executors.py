"""Who renders: what is refused before anything is done."""

import sys

from dx7data import cli


def test_what_is_asked_for_without_a_cluster(tmp_path, capsys, monkeypatch):
    render = ["render", "--patches", "example", "--samples", "4", "--out", str(tmp_path / "out")]
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for options, sentence in (
        (["--executor", "ray", "--ray-address", "127.0.0.1:1"], "no Ray cluster answers at 127.0.0.1:1"),
        (["--executor", "ray", "--ray-address", "here"], "--ray-address is HOST:PORT"),
        (["--executor", "ray"], "--executor ray needs a cluster"),
        (["--executor", "ray", "--device", "cuda:1"], "ask for --device cuda\n"),
        (["--ray-address", "127.0.0.1:1"], "--ray-address is for --executor ray"),
    ):
        assert cli.main([*render, *options]) == 2
        said = capsys.readouterr().err
        assert sentence in said
        assert len(said.splitlines()) == 1
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:2")
    assert cli.main([*render, "--executor", "ray"]) == 2
    assert "no Ray cluster answers at 127.0.0.1:2" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    assert cli.main([*render, "--executor", "ray"]) == 2
    assert "[ray]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
