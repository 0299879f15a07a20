"""Builds the wheel of this package with the standard library alone, so that `pip install` needs no network (PEP 517)."""
import base64
import hashlib
import re
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = (HERE / "pyproject.toml").read_text("utf-8")


def _field(name):
    return re.search(rf'^{name} = "(.*)"$', PROJECT, re.MULTILINE).group(1)


NAME, VERSION = _field("name").replace("-", "_"), _field("version")
INFO = f"{NAME}-{VERSION}.dist-info"
METADATA = f"""Metadata-Version: 2.1
Name: {_field("name")}
Version: {VERSION}
Summary: {_field("description")}
License: {_field("license")}
Requires-Python: {_field("requires-python")}
"""
WHEEL = "Wheel-Version: 1.0\nGenerator: build_backend\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _write_wheel(directory, files):
    name = f"{NAME}-{VERSION}-py3-none-any.whl"
    record = ""
    with zipfile.ZipFile(Path(directory) / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, content in [*files, (f"{INFO}/METADATA", METADATA), (f"{INFO}/WHEEL", WHEEL)]:
            data = content.encode()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(data)}\n"
            wheel.writestr(path, data)
        wheel.writestr(f"{INFO}/RECORD", f"{record}{INFO}/RECORD,,\n")
    return name


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    sources = [path for path in sorted((HERE / "task_queue").iterdir()) if path.name != "__pycache__"]
    return _write_wheel(wheel_directory, [(f"task_queue/{path.name}", path.read_text("utf-8")) for path in sources])


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return _write_wheel(wheel_directory, [(f"{NAME}.pth", f"{HERE}\n")])


def build_sdist(sdist_directory, config_settings=None):
    raise NotImplementedError("there is no source distribution: install from the directory, or build a wheel")
