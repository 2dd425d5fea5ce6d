"""Rankings: of all candidates the best for each query, and ranks of given items."""

from typing import NamedTuple

import numpy as np

from sklearn_mf._data.ratings import Pairs
from sklearn_mf._model.scoring import score_in_blocks, score_pairs
from sklearn_mf._runtime.compile import helper, jit
from sklearn_mf._runtime.threads import (
    count_threads,
    cut_evenly,
    cut_rows,
    thread_pool,
)
from sklearn_mf._runtime.tiles import (
    largest,
    load_row,
    load_transposed,
    store,
    zero_tile,
)

QUERIES = 8  # scored at a time
LANES = 16  # candidates scored at a time: a panel
BLOCK_QUERIES = 16 * QUERIES  # worth a task of their own
RANK_WORK = 2**20  # multiplications and comparisons that are worth a separate task
BLOCK_PANELS = 2**8  # worth a task of their own when they are filled
PANELS = 32  # scored for all queries of a block at a time: they stay in the cache


class Queries(NamedTuple):
    """For what candidates are ranked, such as the users of recommendations.

    Attributes
    ----------
    rows : int32 ndarray of shape (n_queries,)
        Row of each query in the factors; -1 for zeros.
    factors : ndarray of shape (n_rows, n_factors)
        Factors.
    excludes : bool
        Whether what a query has seen is left out.
    seen_indptr, seen_indices : int64 and int32 ndarrays
        What each row has seen: compressed sparse rows of ascending codes.
    """

    rows: np.ndarray
    factors: np.ndarray
    excludes: bool
    seen_indptr: np.ndarray
    seen_indices: np.ndarray


class Candidates(NamedTuple):
    """What is ranked, LANES side by side in panels.

    Attributes
    ----------
    panels : ndarray of shape (n_panels * n_factors, LANES)
        Factors of the candidates, factor by factor in each panel.
    biases : ndarray of shape (n_panels, LANES)
        Added to the scores; −∞ where there is no candidate.
    codes : int32 ndarray of shape (n_candidates,)
        Their codes, ascending.
    """

    panels: np.ndarray
    biases: np.ndarray
    codes: np.ndarray


def rank(queries, factors, biases, n_best, *, candidates, max_memory, n_jobs):
    """Find the candidates of largest score for each query.

    Parameters
    ----------
    queries : Queries
        The queries.
    factors : ndarray of shape (n_codes, n_factors)
        Factors of what is ranked.
    biases : ndarray of shape (n_codes,) or None
        Added to the products.
    n_best : int
        How many to find.
    candidates : int32 ndarray of shape (n_candidates,)
        The codes that are ranked, ascending.
    max_memory : float
        Mebibytes for copies of factors.
    n_jobs : int or None
        Number of threads.

    Returns
    -------
    best : int32 ndarray of shape (n_queries, n_best)
        Codes, the best first; -1 where no candidate is left.
    scores : ndarray of shape (n_queries, n_best)
        Their scores; −∞ there.
    """
    n_queries, n_factors = len(queries.rows), factors.shape[1]
    dtype = factors.dtype
    n_found, n_best = min(n_best, len(candidates)), int(n_best)
    scores = np.full((n_queries, n_found), -np.inf, dtype)
    best = np.full((n_queries, n_found), -1, np.int32)
    blocks = cut_evenly(n_queries, BLOCK_QUERIES)
    bytes_each = max(1, n_factors) * dtype.itemsize
    at_once = int(min(max_memory * 2**20 / bytes_each, 2**31)) // LANES * LANES or LANES
    with thread_pool(count_threads(n_jobs)) as run:
        for first in range(0, len(candidates), at_once):
            codes = candidates[first : first + at_once]
            n_panels = -(-len(codes) // LANES)
            panels = np.zeros((n_panels * n_factors, LANES), dtype)
            offsets = np.full((n_panels, LANES), -np.inf, dtype)
            part = Candidates(panels, offsets, codes)
            run(fill_panels, cut_evenly(n_panels, BLOCK_PANELS), factors, biases, part)
            run(rank_candidates, blocks, queries, part, scores, best)
        run(sort_heaps, blocks, scores, best)
    missing = (0, 0), (0, n_best - n_found)
    return (
        np.pad(best, missing, constant_values=-1),
        np.pad(scores, missing, constant_values=-np.inf),
    )


def rank_pairs(users, codes, scorer, n_best, *, n_jobs):
    """Find the pairs of largest score of each user.

    Parameters
    ----------
    users, codes : int ndarrays of shape (n_pairs,)
        Places of the users, ascending, and codes of what is ranked for them.
    scorer : tuple
        Rows of the users in their factors or -1, these factors, the factors of what is
        ranked, and what is added to the products, or None, and is added for row -1
        instead, or None.
    n_best : int
        How many to find for each.
    n_jobs : int or None
        Number of threads.

    Returns
    -------
    int32 ndarray of shape (n_users, n_best)
        Codes, the best first; -1 where there are fewer.
    """
    rows, user_factors, factors, biases, for_unknown = scorer
    pairs = Pairs(rows[users], codes, 0.0)
    zero = user_factors.dtype.type(0)
    scores = score_in_blocks(
        score_pairs,
        pairs,
        user_factors.dtype,
        n_jobs,
        zero,
        user_factors,
        factors,
        None,
        None,
    )
    if biases is not None:
        scores += biases[codes]
    if for_unknown is not None:
        scores = np.where(pairs.users < 0, for_unknown[codes], scores)
    order = np.lexsort((codes, -scores, users))
    users, codes = users[order], codes[order]
    first = np.searchsorted(users, users)
    places = np.arange(len(users)) - first
    kept = places < n_best
    best = np.full((len(rows), int(n_best)), -1, np.int32)
    best[users[kept], places[kept]] = codes[kept]
    return best


@jit
def fill_panels(start, stop, factors, biases, candidates):
    """Copy factors and biases, or zeros for None, to the panels start to stop."""
    panels, offsets, codes = candidates
    n_factors = factors.shape[1]
    for panel in range(start, stop):
        for lane in range(min(LANES, len(codes) - panel * LANES)):
            code = codes[panel * LANES + lane]
            for f in range(n_factors):
                panels[panel * n_factors + f, lane] = factors[code, f]
            offsets[panel, lane] = 0 if biases is None else biases[code]


@jit
def rank_candidates(start, stop, queries, candidates, scores, best):
    """Score queries start to stop against candidates and keep the best of each.

    What is kept of a query is a heap: at its root is the worst of the best, which a
    better candidate replaces. Of equal scores the lower code is the better.

    Parameters
    ----------
    start, stop : int
        The queries to score.
    queries : Queries
        The queries.
    candidates : Candidates
        What is ranked; codes above those of earlier calls.
    scores : ndarray of shape (n_queries, n_best)
        Heaps of the scores kept, −∞ where there is none yet; changed in place.
    best : int32 ndarray of shape (n_queries, n_best)
        The codes that belong to them, -1 where there is none yet; changed in place.
    """
    rows, factors, excludes, seen_indptr, seen_indices = queries
    panels, biases, codes = candidates
    n_factors = factors.shape[1]
    q = np.zeros((n_factors, QUERIES), factors.dtype)
    tile = np.zeros((QUERIES, LANES), factors.dtype)
    tops = np.zeros(QUERIES, factors.dtype)
    for first_panel in range(0, len(biases), PANELS):
        last_panel = min(first_panel + PANELS, len(biases))
        for first in range(start, stop, QUERIES):
            n = min(QUERIES, stop - first)
            for m in range(n):
                row = rows[first + m]
                for f in range(n_factors):
                    q[f, m] = factors[row, f] if row >= 0 else 0
            for panel in range(first_panel, last_panel):
                _score_tile(q, panels, biases, panel, tile, tops)
                for m in range(n):
                    # Most panels hold none that is better than the worst of the best.
                    if not tops[m] > scores[first + m, 0]:
                        continue
                    row, begin, end = rows[first + m], 0, 0
                    if excludes and row >= 0:
                        begin, end = seen_indptr[row], seen_indptr[row + 1]
                    for lane in range(LANES):
                        if not tile[m, lane] > scores[first + m, 0]:
                            continue
                        code = codes[panel * LANES + lane]
                        if not _contains(seen_indices, begin, end, code):
                            _replace_root(
                                scores[first + m],
                                best[first + m],
                                scores.shape[1],
                                tile[m, lane],
                                code,
                            )


@helper
def _score_tile(q, panels, biases, panel, tile, tops):
    """Score a panel of candidates for some queries; find the largest of each too."""
    # scores = Σ_f q_f c_fᵀ + biases, with c_f factor f of the candidates
    scores = zero_tile(tile, QUERIES, LANES) + load_row(biases, panel, 0, LANES)
    first = panel * len(q)
    for f in range(len(q)):
        candidates = load_row(panels, first + f, 0, LANES)
        scores = scores + load_transposed(q, f, 0, QUERIES) * candidates
    store(scores, tile, 0, 0)
    store(largest(scores), tops, 0, 0)


@helper
def _contains(indices, first, last, code):
    """Tell whether a code is among the ascending indices from first to last."""
    while first < last:
        middle = (first + last) // 2
        if indices[middle] < code:
            first = middle + 1
        elif indices[middle] > code:
            last = middle
        else:
            return True
    return False


@helper
def _replace_root(scores, codes, size, score, code):
    """Put an entry in place of the root of a heap of the first `size` entries."""
    k = 0
    while True:
        worst = 2 * k + 1
        if worst >= size:
            break
        other = worst + 1
        if other < size and (
            scores[other] < scores[worst]
            or (scores[other] == scores[worst] and codes[other] > codes[worst])
        ):
            worst = other
        if score < scores[worst] or (score == scores[worst] and code > codes[worst]):
            break
        scores[k], codes[k] = scores[worst], codes[worst]
        k = worst
    scores[k], codes[k] = score, code


@jit
def sort_heaps(start, stop, scores, best):
    """Sort the heaps start to stop in place, the best entry first."""
    for row in range(start, stop):
        for size in range(scores.shape[1] - 1, 0, -1):
            score, code = scores[row, size], best[row, size]
            scores[row, size], best[row, size] = scores[row, 0], best[row, 0]
            _replace_root(scores[row], best[row], size, score, code)


@jit
def count_ranks(
    start,
    stop,
    queries,
    candidates,
    biases,
    items,
    bounds,
    ranks_seen,
    ranks,
):
    """Compute the ranks of items among all items that a user has not seen, in place.

    Parameters
    ----------
    start, stop : int
        Which of the users.
    queries : Queries
        The users.
    candidates : ndarray of shape (n_factors, n_items)
        The factors of all items.
    biases : tuple of 2 ndarrays of shape (n_items,)
        Added to the scores for users with a row, and for others.
    items : int32 ndarray of shape (n_ranked,)
        Codes of the items to be ranked; -1 for one without a score.
    bounds : int64 ndarray of shape (n_users + 1,)
        The items of user u stand at ``bounds[u]`` to ``bounds[u + 1]``.
    ranks_seen : bool
        Whether items that were seen are ranked too. If so, each item is ranked alone
        among those that were not seen and are not ranked.
    ranks : float64 ndarray of shape (n_ranked,)
        1 is the best. Left as they are where an item has no score, or was seen and is
        not ranked.
    """
    rows, factors, _, seen_indptr, seen_indices = queries
    scores = np.empty(len(biases[0]), factors.dtype)
    own = np.empty(len(items), factors.dtype)
    for user in range(start, stop):
        row = rows[user]
        # b + p·q for all items; −∞ for those that the user has seen
        scores[:] = biases[0] if row >= 0 else biases[1]
        if row >= 0:
            for f in range(len(candidates)):
                for item in range(len(scores)):
                    scores[item] += factors[row, f] * candidates[f, item]
        for place in range(bounds[user], bounds[user + 1]):
            if items[place] >= 0:
                own[place] = scores[items[place]]
        if row >= 0:
            for place in range(seen_indptr[row], seen_indptr[row + 1]):
                scores[seen_indices[place]] = -np.inf
        if ranks_seen:
            for place in range(bounds[user], bounds[user + 1]):
                if items[place] >= 0:
                    scores[items[place]] = -np.inf
        # Items of equal score share the mean of their ranks.
        for place in range(bounds[user], bounds[user + 1]):
            item = items[place]
            if item >= 0 and (ranks_seen or scores[item] > -np.inf):
                n_above, n_equal = 0, 0
                for score in scores:
                    n_above += score > own[place]
                    n_equal += score == own[place]
                n_equal += ranks_seen  # the item itself
                ranks[place] = n_above + (n_equal + 1) / 2


def rank_items(queries, factors, biases, items, bounds, ranks_seen, n_jobs):
    """Return what `count_ranks` computes, with 0 for what it leaves.

    Parameters
    ----------
    queries, items, bounds, ranks_seen
        See `count_ranks`.
    factors : ndarray of shape (n_items, n_factors)
        Factors of all items.
    biases : tuple of 2 ndarrays of shape (n_items,)
        See `count_ranks`.
    n_jobs : int or None
        Number of threads.

    Returns
    -------
    float64 ndarray of shape (n_ranked,)
    """
    ranks = np.zeros(len(items))
    with thread_pool(count_threads(n_jobs)) as run:
        run(
            count_ranks,
            cut_rows(factors.size + len(factors) * np.diff(bounds), RANK_WORK),
            queries,
            np.ascontiguousarray(factors.T),
            biases,
            items,
            bounds,
            ranks_seen,
            ranks,
        )
    return ranks


@jit
def rank_sample(
    start, stop, queries, factors, biases, items, bounds, words, scores, best
):
    """Rank the relevant items of users among others that are drawn at random.

    The others are drawn without replacement from the items that the user has not seen,
    and that are not relevant; all of them, if there are no more than `n_words`.

    Parameters
    ----------
    start, stop : int
        Which of the users.
    queries : Queries
        The users.
    factors : ndarray of shape (n_items, n_factors)
        The factors of all items.
    biases : tuple of 2 ndarrays of shape (n_items,)
        See `count_ranks`.
    items : int32 ndarray of shape (n_relevant,)
        Codes of the relevant items; -1 for one without a score.
    bounds : int64 ndarray of shape (n_users + 1,)
        The items of user u stand at ``bounds[u]`` to ``bounds[u + 1]``.
    words : uint32 ndarray of shape (n_users, n_words)
        Random bits, one word for each item to be drawn.
    scores, best : ndarrays of shape (n_users, n_best)
        Heaps, as in `rank_candidates`; changed in place.
    """
    rows, user_factors, _, seen_indptr, seen_indices = queries
    last_user = np.full(len(factors), -1)  # that has seen an item, or finds it relevant
    others = np.empty(len(factors), np.int32)
    for user in range(start, stop):
        row = rows[user]
        own = biases[0] if row >= 0 else biases[1]
        if row >= 0:
            for place in range(seen_indptr[row], seen_indptr[row + 1]):
                last_user[seen_indices[place]] = user
        for place in range(bounds[user], bounds[user + 1]):
            item = items[place]
            if item >= 0 and last_user[item] != user:
                last_user[item] = user
                score = _score_pair(row, item, user_factors, factors, own)
                _keep(scores[user], best[user], score, item)
        n_others = 0
        for item in range(len(factors)):
            if last_user[item] != user:
                others[n_others] = item
                n_others += 1
        # A shuffle of Fisher and Yates that ends with the last word.
        for k in range(min(n_others, words.shape[1])):
            word, n_left = np.uint64(words[user, k]), np.uint64(n_others - k)
            drawn = k + np.int64(word * n_left >> np.uint64(32))
            item, others[drawn] = others[drawn], others[k]
            score = _score_pair(row, item, user_factors, factors, own)
            _keep(scores[user], best[user], score, item)


@helper
def _score_pair(row, item, user_factors, factors, biases):
    """Return b + p·q, in which the p of row -1 is zero."""
    score = biases[item]
    if row >= 0:
        for f in range(factors.shape[1]):
            score += user_factors[row, f] * factors[item, f]
    return score


@helper
def _keep(scores, codes, score, code):
    """Put an entry into a heap in the place of its worst, if it is better."""
    if score > scores[0] or (score == scores[0] and code < codes[0]):
        _replace_root(scores, codes, len(scores), score, code)
