"""Drawings of the 32 algorithms, by the tables of the engine."""

import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest

from dx7data.page import algorithm
from dx7data.patches.algorithms import ALGORITHMS


def panel(number):
    return ElementTree.fromstring(algorithm.draw_algorithm(number))


def boxes(svg):
    """Operator -> left and upper edge of its box."""
    found = {}
    for group in svg.iter("g"):
        rect = group.find("rect")
        found[int(group.get("data-operator"))] = (float(rect.get("x")), float(rect.get("y")))
    return found


def links(number):
    """The connections of an algorithm, as the rows of ALGORITHMS are written."""
    chains = [chain.split(">") for chain in ALGORITHMS[number - 1][0].split()]
    return {(int(a), int(b)) for chain in chains for a, b in pairwise(chain)}


@pytest.mark.parametrize("number", range(1, 33))
def test_algorithm_as_on_the_panel(number):
    svg = panel(number)
    place = boxes(svg)
    assert sorted(place) == [1, 2, 3, 4, 5, 6]
    assert [text.text for text in svg.iter("text")] == [str(group.get("data-operator")) for group in svg.iter("g")]
    assert len(set(place.values())) == 6
    bottom = max(y for _, y in place.values())
    carriers = set(place) - {modulator for modulator, _ in links(number)}
    assert {n for n, (_, y) in place.items() if y == bottom} == carriers
    assert {int(g.get("data-operator")) for g in svg.iter("g") if "carrier" in g.get("class").split()} == carriers
    assert sorted(carriers) == sorted(carriers, key=lambda n: place[n][0]), "from left to right"
    for a, b in ((a, b) for a in place for b in place if a < b and place[a][1] == place[b][1]):
        assert abs(place[a][0] - place[b][0]) >= 30, "boxes, and the loop between them, do not touch"

    drawn = [path for path in svg.iter("path") if path.get("data-from")]
    connections = [p for p in drawn if p.get("class") is None]
    assert sorted((int(p.get("data-from")), int(p.get("data-to"))) for p in connections) == sorted(links(number))
    for path in connections:
        start, end = place[int(path.get("data-from"))], place[int(path.get("data-to"))]
        assert start[1] < end[1], "modulators are above what they modulate"
        numbers = [float(each) for each in re.findall(r"-?[\d.]+", path.get("d"))]
        assert numbers[:2] == [start[0] + 10, start[1] + 20]
        assert [numbers[3], numbers[4]] == [end[0] + 10, end[1]]


@pytest.mark.parametrize("number", range(1, 33))
def test_feedback_loop(number):
    (loop,) = [path for path in panel(number).iter("path") if (path.get("class") or "").startswith("feedback")]
    around = {4: (4, 6), 6: (5, 6)}.get(number, (ALGORITHMS[number - 1][1],) * 2)
    assert (int(loop.get("data-from")), int(loop.get("data-to"))) == around
    place = boxes(panel(number))
    numbers = [float(each) for each in re.findall(r"-?[\d.]+", loop.get("d"))]
    assert numbers[0] == place[around[0]][0] + 10
    assert place[around[0]][1] + 20 < numbers[1] < place[around[0]][1] + 30
    assert numbers[-1] == place[around[1]][1]
