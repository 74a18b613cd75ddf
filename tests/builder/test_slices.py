"""Slices: what is shared is made once, what is read ahead comes in order, and never too far ahead."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from PIL import Image

from noisezoo import zoo
from noisezoo.builder.views.slices import ALONE_FROM, PIECE, Slice, ahead, cut, groups

PICTURE = Image.new("L", (2, 2))


def test_results_come_in_order_however_long_each_takes() -> None:
    def slow(item: int) -> int:
        time.sleep(0.02 * (item % 3 == 0))
        return item * item

    with ThreadPoolExecutor(4) as pool:
        found = [(item, future.result()) for item, future in ahead(pool, slow, range(20), depth=3)]
    assert found == [(k, k * k) for k in range(20)]


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_no_more_than_depth_items_are_drawn_beyond_the_one_in_hand(depth: int) -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for k in range(10):
            drawn = k + 1
            yield k

    with ThreadPoolExecutor(1) as pool:
        for item, _ in ahead(pool, abs, items(), depth=depth):
            assert drawn == min(item + 1 + depth, 10)


def test_the_next_item_is_worked_on_while_the_one_in_hand_is_used() -> None:
    begun = [threading.Event() for _ in range(3)]
    with ThreadPoolExecutor(1) as pool:
        stream = ahead(pool, lambda k: begun[k].set(), range(3), depth=1)
        next(stream)
        assert begun[1].wait(5), "the second was begun though nobody has asked for it"
        assert not begun[2].wait(0.05), "the third is beyond the depth"
        stream.close()


def test_an_error_surfaces_at_its_own_item() -> None:
    with ThreadPoolExecutor(2) as pool:
        stream = ahead(pool, lambda k: 1 // k, [1, 0, 1], depth=2)
        assert next(stream)[1].result() == 1
        with pytest.raises(ZeroDivisionError):
            next(stream)[1].result()
        assert next(stream)[1].result() == 1


def test_what_was_not_begun_is_dropped_when_the_stream_is_closed() -> None:
    gate, begun = threading.Event(), []
    with ThreadPoolExecutor(1) as pool:
        stream = ahead(pool, lambda k: (begun.append(k), gate.wait(5)), range(9), depth=4)
        threading.Timer(0.05, gate.set).start()
        next(stream)
        stream.close()
    assert len(begun) < 5


def test_a_picture_is_read_once_however_many_threads_ask_for_it() -> None:
    reads: list[range] = []

    def read(piece: range) -> list[Image.Image | Exception]:
        reads.append(piece)
        time.sleep(0.02)
        return [PICTURE] * len(piece)

    part = Slice([str(k) for k in range(40)], read)
    pieces = cut(range(40), PIECE)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(part.pictures, pieces * 6))
    assert sorted(reads, key=lambda piece: piece.start) == pieces
    assert [len(pictures) for pictures in found] == [16, 16, 8] * 6
    assert part.picture(39) is PICTURE
    assert len(reads) == 3


def test_one_picture_can_be_had_where_nobody_read_its_piece() -> None:
    with pytest.raises(OSError, match=r"^1$"):
        Slice(["a", "b"], lambda piece: [OSError(f"{k}") for k in piece]).picture(1)


def test_ranges_are_cut_by_position_alone() -> None:
    assert cut(range(3, 10), 3) == [range(3, 6), range(6, 9), range(9, 10)]
    assert cut(range(0), 3) == []


def test_only_the_first_view_to_ask_encodes_what_is_shared() -> None:
    part = Slice(["a"], lambda piece: [PICTURE])
    assert part.promise("vae", range(0, 8))
    assert not part.promise("vae", range(0, 8))
    assert part.promise("vae", range(8, 16))
    assert part.promise("other", range(0, 8))
    assert part.promise(None, range(0, 8)) and part.promise(None, range(0, 8)), "what has no name is not shared"


def names(*views: str) -> list[list[str]]:
    return [[view.name for view in group] for group in groups([zoo.get(name) for name in views])]


def test_views_of_one_autoencoder_are_one_group() -> None:
    assert names("sd15", "lcm", "sd-vae", "sd15-untrained") == [["sd15", "sd-vae", "sd15-untrained"], ["lcm"]]
    assert names("faces-vae", "faces-ldm-uncond", "faces-ldm-uncond-untrained") == [
        ["faces-vae", "faces-ldm-uncond", "faces-ldm-uncond-untrained"]
    ]


def test_a_pixel_model_is_with_its_untrained_twin_alone() -> None:
    assert names("faces-ddpm", "digits-ddpm-untrained", "faces-ddpm-untrained", "digits-ddpm") == [
        ["faces-ddpm", "faces-ddpm-untrained"],
        ["digits-ddpm-untrained", "digits-ddpm"],
    ]


def test_all_that_share_pictures_only_are_one_group() -> None:
    views = (
        "pixels",
        "clip-vit-l14",
        "random",
        "faces-ssl",
        "faces-ssl-untrained",
        "pixels-whitened",
        "dinov2-vit-l14",
    )
    assert names(*views) == [list(views)]


def test_a_model_that_is_too_large_is_alone() -> None:
    large = [replace(zoo.get(name), gflops=ALONE_FROM + 1) for name in ("sd15", "sd15-untrained")]
    assert [len(group) for group in groups([*large, zoo.get("sd-vae")])] == [1, 1, 1]
    assert names("flux-dev", "flux-dev-untrained") == [["flux-dev"], ["flux-dev-untrained"]]
