import subprocess
import sys

import pytest

from noisezoo import analysis


def test_every_export_exists_and_is_what_its_name_says() -> None:
    for name in analysis.__all__:
        assert getattr(analysis, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = analysis.nonsense


def test_importing_the_package_loads_no_heavy_library() -> None:
    heavy = {"torch", "scipy", "pandas", "sklearn", "matplotlib"}
    code = f"import sys, noisezoo.analysis; print(*(set(sys.modules) & {heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
