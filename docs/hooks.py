"""Pages of the site that lie outside docs/: the measurements, which benchmarks/ keeps beside its programs."""

from pathlib import Path

from mkdocs.structure.files import File

MEASUREMENTS = Path(__file__).parents[1] / "benchmarks" / "results"


def on_files(files, config):
    for path in sorted(MEASUREMENTS.iterdir()):
        files.append(File.generated(config, f"measurements/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, **_):
    """In the repository these links lead to benchmarks/, in the site to the copies."""
    return markdown.replace("../benchmarks/results/", "measurements/")
