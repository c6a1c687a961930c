"""`dx7data --print-completion`: real shells read the script."""

import shutil
import subprocess

import pytest

from dx7data import cli


@pytest.fixture
def script(capsys, request):
    with pytest.raises(SystemExit) as end:
        cli.main(["--print-completion", request.param])
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("script", ["bash"], indirect=True)
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["dx7data", "ver"], {"verify"}),
        (["dx7data", "patches", ""], {"ls", "show", "export"}),
        (["dx7data", "render", "--over"], {"--overwrite"}),
        (["dx7data", "patches", "ls", "--"], {"--quiet", "--verbose", "--json", "--report"}),
        (["dx7data", "render", "--out", "shar"], {"shards"}),
    ],
)
def test_bash_completes(script, words, completed, tmp_path):
    (tmp_path / "shards").mkdir()
    line = f"COMP_WORDS=({' '.join(word or repr('') for word in words)}); COMP_CWORD={len(words) - 1}"
    ask = f'{script}\n{line}\n$(complete -p dx7data | sed "s/.*-F \\([^ ]*\\).*/\\1/")\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    found = subprocess.run(["bash", "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert completed <= {each.rstrip("/") for each in found.stdout.split()}, found.stderr


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh here")
def test_zsh_reads_the_script(script):
    subprocess.run(["zsh", "-n", "-c", script], check=True, timeout=60)
