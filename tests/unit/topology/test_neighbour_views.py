"""Who passes a broadcast on to whom: what is not known, and what is not kept."""

from __future__ import annotations

from meshnet.ids import PeerName
from meshnet.topology.graph import LinkGraph
from meshnet.topology.views import NeighbourViews

US, A, B, C, D = (PeerName(bytes(15) + bytes((number,))) for number in range(5))
LINKS = {
    US: {A: 5, B: 5},
    A: {US: 5, B: 5, C: 5},
    B: {US: 5, A: 5},
    C: {A: 5},
}


def views_of(graph: LinkGraph) -> NeighbourViews:
    for peer, links in LINKS.items():
        graph.announce(peer, links)
    return NeighbourViews(graph)


def test_nothing_is_made_until_somebody_asks() -> None:
    graph = LinkGraph(US)
    views = views_of(graph)
    views.mark(graph.announce(D, {A: 5}))
    assert views.work(1000) == 0
    assert views.children(US) is None
    assert views.behind
    assert views.work(1000) > 0
    assert views.children(US) == (A, B)
    assert views.children(A) == views.children(C) == ()


def test_of_a_source_that_is_nowhere_nothing_is_known() -> None:
    views = views_of(LinkGraph(US))
    views.children(US)
    views.work(1000)
    assert views.children(D) is None


def test_while_a_change_is_worked_on_the_former_tree_is_used() -> None:
    graph = LinkGraph(US)
    views = views_of(graph)
    views.children(US)
    views.work(1000)
    views.mark(graph.announce(A, {US: 5, B: 5, C: 5, D: 5}))
    views.mark(graph.announce(D, {A: 5}))
    assert views.behind
    assert views.children(US) == (A, B)


def test_with_a_new_neighbour_it_is_not_known_until_its_view_is() -> None:
    graph = LinkGraph(US)
    views = views_of(graph)
    views.children(US)
    views.work(1000)
    views.mark(graph.announce(US, {**LINKS[US], D: 5}))
    assert views.children(US) is None
    while views.behind:
        views.work(3)
    assert views.children(US) == (A, B, D)
    assert views.children(C) == (D,)
    views.mark(graph.announce(US, LINKS[US]))
    views.work(1000)
    assert views.children(US) == (A, B)


def test_what_nobody_asks_for_is_forgotten() -> None:
    views = views_of(LinkGraph(US))
    views.children(US)
    views.work(1000)
    views.forget_unasked()
    assert views.children(US) == (A, B), "it was asked for since the last time"
    views.forget_unasked()
    views.forget_unasked()
    assert views.children(US) is None
