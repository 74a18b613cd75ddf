import inspect
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest

from noisezoo import analysis


def test_every_export_exists_and_is_what_its_name_says() -> None:
    for name in analysis.__all__:
        assert getattr(analysis, name).__name__ == name


def _of_ours(hint: Any) -> Iterator[type]:
    """Our classes in a type, at any depth."""
    if inspect.isclass(hint) and hint.__module__.startswith("noisezoo.analysis"):
        yield hint
    for inner in get_args(hint):
        yield from _of_ours(inner)


def test_the_types_that_functions_take_and_return_are_exported_and_no_parameter_is_hidden() -> None:
    functions = [each for name in analysis.__all__ if inspect.isfunction(each := getattr(analysis, name))]
    assert len(functions) > 40
    for function in functions:
        for parameter, hint in get_type_hints(function).items():
            for each in _of_ours(hint):
                assert getattr(analysis, each.__name__, None) is each, (function.__name__, parameter)
        kinds = {p.kind for p in inspect.signature(function).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds, function.__name__


@pytest.mark.parametrize("name", ["Study", "fit_space", "EditStudy", "scorecard", "assign_folds", "register_study"])
def test_what_a_user_builds_an_analysis_of_their_own_from_is_exported(name: str) -> None:
    assert name in analysis.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = analysis.nonsense


def test_importing_the_package_loads_no_heavy_library() -> None:
    heavy = {"torch", "scipy", "pandas", "sklearn", "matplotlib"}
    code = f"import sys, noisezoo.analysis; print(*(set(sys.modules) & {heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
