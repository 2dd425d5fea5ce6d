"""
Serve a model
=============

A model has been fitted in one place, and makes recommendations in another. It is saved
to a file that holds numbers and no code, loaded by a server, and asked for lists: for
one user or for all, from a part of the catalogue, and for visitors whom it does not
know.
"""

import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import sklearn_mf
from sklearn_mf import ALSFactorizer
from sklearn_mf.datasets import make_interactions

# %%
# Fit and save
# ------------
# What people did, not what they rated, teaches which items belong on a list.

X, y = make_interactions(5000, 2000, 200_000, random_state=0)
model = ALSFactorizer(32, feedback="implicit", random_state=0).fit(X, y)
path = Path(tempfile.mkdtemp()) / "model.npz"
model.save(path)
print(
    f"{len(model.users_):,} users, {len(model.items_):,} items, {path.name}: ", end=""
)
print(f"{path.stat().st_size / 1e6:.1f} MB")

# %%
# Load and recommend
# ------------------
# ``load`` runs no code from the file, so the file need not be trusted as a pickle must
# be. A list leaves out what its user has met already.

server = sklearn_mf.load(path)
print(
    server.recommend([7, 8], n_items=3, as_frame=True).round(3).to_string(index=False)
)

# %%
# ``candidates`` are the items to choose from, such as those in stock; ``exclude``
# leaves items out, for all or for each user, such as those that were shown before.

in_stock = server.items_[::2]
shown, _ = server.recommend([7, 8], n_items=3, candidates=in_stock)
fresh, _ = server.recommend([7, 8], n_items=3, candidates=in_stock, exclude=shown)
print("shown:", shown.tolist())
print("next: ", fresh.tolist())

# %%
# A visitor is served from what they have just met, and the model stays as it is.

clicks = [["visitor", item] for item in shown[0]]
items, _ = server.recommend(history=clicks, n_items=3)
print("visitor:", items[0].tolist())

# %%
# How long does it take?
# ----------------------
# A call has a cost of its own, and one for each user. Ask for many users at once where
# lists are made in advance; ask for one where somebody waits.

SIZES = [1, 10, 100, 1000, 5000]


def time_call(n_users, repeats=5):
    """Return the shortest time, in milliseconds, of a call for so many users."""
    users = server.users_[:n_users]
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        server.recommend(users, n_items=10)
        seconds.append(time.perf_counter() - start)
    return 1e3 * min(seconds)


milliseconds = np.array([time_call(n_users) for n_users in SIZES])
for n_users, value in zip(SIZES, milliseconds, strict=True):
    print(f"{n_users:5,} users: {value:7.2f} ms, {value / n_users:.3f} ms each")

figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
ax.loglog(SIZES, milliseconds, "o-", label="a call")
ax.loglog(SIZES, milliseconds / SIZES, "s--", label="each user of it")
ax.set(xlabel="users in a call", ylabel="milliseconds")
ax.grid(alpha=0.3)
ax.legend()

# %%
# `to_onnx` writes ``predict`` for servers without Python; see
# :doc:`the how-to page </how_to/serve>`.

plt.show()
