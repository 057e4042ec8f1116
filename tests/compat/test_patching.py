"""Patches as data: ordered, applied once, checked against the source they were written for."""

import dataclasses
import inspect
import logging
import sys
import types

import pytest

from mdpr_fastreid import compat
from mdpr_fastreid.compat.patching import Patch, Patches, State, resolve, source_digest

SOURCE = """
def add(a, b):
    return a + b


class Counter:
    def count(self):
        return 1
"""


@pytest.fixture
def toolbox(tmp_path, monkeypatch):
    """A module ``fastreid.toy`` with source, and one that imported a function of it by name."""
    (tmp_path / "toy.py").write_text(SOURCE)
    module = types.ModuleType("fastreid.toy")
    module.__file__ = str(tmp_path / "toy.py")
    exec(compile(SOURCE, module.__file__, "exec"), vars(module))
    monkeypatch.setitem(sys.modules, "fastreid.toy", module)
    importer = types.ModuleType("importer")
    importer.plus = module.add
    monkeypatch.setitem(sys.modules, "importer", importer)
    return module


def patch_of(target, make, **changes):
    patch = Patch(target, "It fails.", "every version", "FastReID works", source_digest(target), make)
    return dataclasses.replace(patch, **changes)


def doubled(stock):
    def add(a, b):
        return 2 * stock(a, b)

    return add


def test_a_function_is_replaced_wherever_it_is_bound_and_a_method_in_its_class(toolbox):
    stock = toolbox.add
    patches = Patches(
        [
            patch_of("fastreid.toy:add", doubled),
            patch_of("fastreid.toy:Counter.count", lambda stock: lambda self: stock(self) + 1),
        ]
    )
    patches.apply()
    assert toolbox.add(1, 2) == sys.modules["importer"].plus(1, 2) == 6
    assert toolbox.Counter().count() == 2
    assert patches.stock("fastreid.toy:add") is stock
    assert {patches.state(patch) for patch in patches} == {State.APPLIED}


def test_another_librarys_object_is_replaced_in_the_one_module_only(toolbox):
    toolbox.getsource = inspect.getsource
    target = "fastreid.toy:getsource"
    patches = Patches([patch_of(target, lambda stock: len, source_of="fastreid.toy:add", source="")])
    patches = Patches([dataclasses.replace(next(iter(patches)), source=source_digest("fastreid.toy:add"))])
    patches.apply()
    assert toolbox.getsource is len
    assert inspect.getsource is not len


def test_applying_again_does_not_wrap_again(toolbox):
    patches = Patches([patch_of("fastreid.toy:add", doubled)])
    patches.apply()
    patches.apply()
    assert toolbox.add(1, 2) == 6


def test_after_a_failure_the_next_apply_goes_on_with_what_is_left(toolbox):
    failures = [RuntimeError("out of memory")]

    def make(stock):
        if failures:
            raise failures.pop()
        return lambda self: 7

    patches = Patches(
        [
            patch_of("fastreid.toy:add", doubled),
            patch_of("fastreid.toy:Counter.count", make, after=("fastreid.toy:add",)),
        ]
    )
    with pytest.raises(RuntimeError, match="out of memory"):
        patches.apply()
    assert [patches.state(patch) for patch in patches] == [State.APPLIED, State.NOT_YET]
    patches.apply()
    assert toolbox.add(1, 2) == 6
    assert toolbox.Counter().count() == 7


def test_a_target_with_another_source_is_left_as_it_is_and_named_in_one_line(toolbox, caplog):
    patches = Patches(
        [
            patch_of("fastreid.toy:add", doubled, source="0" * 12),
            patch_of("fastreid.toy:Counter.count", doubled, source="1" * 12),
            dataclasses.replace(patch_of("fastreid.toy:add", doubled), target="fastreid.toy:gone"),
        ]
    )
    with caplog.at_level(logging.WARNING, logger="mdpr_fastreid"):
        patches.apply()
    assert toolbox.add(1, 2) == 3
    (message,) = caplog.messages
    for target in ("fastreid.toy:add", "fastreid.toy:Counter.count", "fastreid.toy:gone"):
        assert target in message
    assert [patches.state(patch) for patch in patches] == [State.DIFFERS, State.DIFFERS, State.MISSING]


def test_what_somebody_else_put_in_the_place_is_not_overwritten(toolbox):
    patch = patch_of("fastreid.toy:add", doubled)
    toolbox.add = lambda a, b: 0
    Patches([patch]).apply()
    assert toolbox.add(1, 2) == 0


def test_a_patch_that_was_undone_by_somebody_else_says_so(toolbox):
    patches = Patches([patch_of("fastreid.toy:add", doubled)])
    patches.apply()
    toolbox.add = max
    assert patches.state(next(iter(patches))) is State.DIFFERS


def test_a_patch_does_nothing_where_the_toolbox_works(toolbox):
    patches = Patches([patch_of("fastreid.toy:add", doubled, needed=lambda: False)])
    patches.apply()
    assert toolbox.add(1, 2) == 3
    assert patches.state(next(iter(patches))) is State.NOT_NEEDED


def test_patches_come_after_those_they_name_whatever_order_they_are_listed_in(toolbox):
    made = []

    def make(stock):
        made.append(stock)
        return stock

    first = patch_of("fastreid.toy:Counter.count", make)
    second = patch_of("fastreid.toy:add", make, after=("fastreid.toy:Counter.count",))
    counter, add = resolve(first.target), resolve(second.target)
    for listed in ([first, second], [second, first]):
        made.clear()
        Patches(listed).apply()
        assert made == [counter, add]


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ((("fastreid.toy:other",), ()), "comes after fastreid.toy:other, which none has"),
        ((("fastreid.toy:Counter.count",), ("fastreid.toy:add",)), "wait for each other"),
    ],
)
def test_an_impossible_order_is_an_error(toolbox, after, message):
    patches = [
        patch_of(target, doubled, after=names)
        for target, names in zip(("fastreid.toy:add", "fastreid.toy:Counter.count"), after, strict=True)
    ]
    with pytest.raises(ValueError, match=message):
        Patches(patches)


def test_two_patches_of_one_target_are_an_error(toolbox):
    with pytest.raises(ValueError, match="two patches have the target fastreid.toy:add"):
        Patches([patch_of("fastreid.toy:add", doubled), patch_of("fastreid.toy:add", doubled)])


ALL = [pytest.param(patch, id=patch.target) for patch in compat.patches()]


@pytest.mark.parametrize("patch", ALL)
def test_every_patch_is_applied_or_not_needed_and_says_what_it_is_for(patch):
    assert compat.patches().state(patch) in (State.APPLIED, State.NOT_NEEDED)
    assert patch.fixes.endswith(".")
    assert patch.since and patch.until


@pytest.mark.parametrize("patch", ALL)
def test_every_patch_knows_the_source_it_was_written_for_and_leaves_another_alone(patch):
    stock = compat.stock(patch.target)
    text = inspect.getsource(compat.stock(patch.source_of) if patch.source_of else stock)
    assert text
    other = dataclasses.replace(patch, source="0" * 12)
    fresh = Patches([dataclasses.replace(other, after=())])
    before = resolve(patch.target)
    fresh.apply()
    assert resolve(patch.target) == before
    assert fresh.state(next(iter(fresh))) is State.DIFFERS


@pytest.mark.parametrize("patch", ALL)
def test_no_patch_touches_a_toolbox_that_works(patch):
    before = resolve(patch.target)
    idle = dataclasses.replace(patch, needed=lambda: False, after=(), make=lambda stock: pytest.fail("it was made"))
    fresh = Patches([idle])
    fresh.apply()
    assert resolve(patch.target) == before
    assert fresh.state(idle) in (State.NOT_NEEDED, State.DIFFERS)  # differs: it is patched already, without a wrapper


def test_applying_all_twice_changes_nothing():
    before = [resolve(patch.target) for patch in compat.patches()]
    compat.apply()
    assert [resolve(patch.target) for patch in compat.patches()] == before
