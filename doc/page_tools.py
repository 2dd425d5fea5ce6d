"""What these pages need beside Sphinx: outputs, charts, links of names, an order."""

import contextlib
import importlib
import inspect
import io
import operator
import re
import tempfile

import matplotlib
from docutils import nodes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from sphinx import addnodes

MODULES = ["", ".datasets", ".dask", ".impute", ".inspection", ".metrics"]
MODULES += [".model_selection", ".onnx"]

# Scripts of the gallery in the order of a reader's questions; others follow by name.
GALLERY = [
    "plot_predict_ratings.py",
    "plot_clicks.py",
    "plot_new_users_and_items.py",
    "plot_uncertainty.py",
    "plot_features.py",
    "plot_compare_models.py",
    "plot_serve.py",
    "plot_impute.py",
]


def gallery_order(filename):
    """Return the key that sorts the scripts of a section of the gallery."""
    known = filename in GALLERY
    return (GALLERY.index(filename) if known else len(GALLERY), filename)


def public_names():
    """Return the dotted name of every public object, by all names that pages use."""
    names = {}
    for ending in MODULES:
        module = importlib.import_module(f"sklearn_mf{ending}")
        for name in set(module.__all__) - {"__version__"}:
            names[f"{module.__name__}.{name}"] = f"{module.__name__}.{name}"
            if ending != ".dask":  # its classes share their names with those in memory
                names[name] = f"{module.__name__}.{name}"
    for ending in ("compose", "ensemble", "metrics", "model_selection", "pipeline"):
        module = importlib.import_module(f"sklearn.{ending}")
        for name in module.__all__:
            names.setdefault(name, f"{module.__name__}.{name}")
    return names


NAMES = public_names()


def link_names(app, doctree):
    """Make a link of each code span that is a public name, or a call of it."""
    for span in list(doctree.findall(nodes.literal)):
        target = NAMES.get(span.astext().partition("(")[0])
        inside = (nodes.title, nodes.reference, addnodes.pending_xref)
        if target is None or isinstance(span.parent, inside):
            continue
        if app.env.docname.endswith(target):
            continue  # its own page
        link = addnodes.pending_xref(
            "", refdomain="py", reftype="obj", reftarget=target, refwarn=False
        )
        span.replace_self(link)
        link += span


def add_outputs(app, doctree):
    """Run the Python code of a page from top to bottom, and show what it prints."""
    path = app.env.doc2path(app.env.docname)
    if path.suffix != ".md":
        return
    names = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for block in list(doctree.findall(nodes.literal_block)):
            if block.get("language") != "python":
                continue
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block.astext(), path, "exec"), names)
            if text := printed.getvalue().rstrip():
                output = nodes.literal_block(text, text, language="text")
                block.parent.insert(block.parent.index(block) + 1, output)
                output["classes"].append("output")


# A comment above a table of a page asks for a chart of it; the table is folded below.
#
#     <!-- dots: "RMSE" of "library" "model" for each "data" -->
#     <!-- lines: "seconds" "test RMSE" of "model" for each "d" -->
#
# Dots show the column named first. Lines have names for their axes, and join the points
# (x, y) of a row: the cells of all columns that are not named, with two numbers each.
# The columns named next are the labels of rows, where an empty cell repeats the one
# above it. What the last ones hold divides the rows into panels.
CHART = re.compile(
    r"<!-- (dots|lines): (.+?) of (.+?)(?: for each (.+?))? -->\n\n((?:\|.*\n?)+)"
)
WIDTH, LINE = 4.4, 0.17  # inches: as wide as a phone, as high as a line of text
TEXT, OWN, OTHER = "#010203", "#2f7fc1", "#8b929c"  # TEXT stands for the theme's colour
TITLE = {"loc": "left", "fontsize": 9, "weight": "bold"}
STYLE = {"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "chart"}
STYLE |= {f"{part}.color": TEXT for part in ("text", "xtick", "ytick")}
STYLE |= {"axes.edgecolor": TEXT, "axes.labelcolor": TEXT}
STYLE |= {"axes.spines.top": False, "axes.spines.right": False}


def read_table(text):
    """Return the header and the rows of a table in Markdown."""
    header, _, *rows = (
        [cell.strip().replace("`", "") for cell in line.strip().strip("|").split("|")]
        for line in text.splitlines()
    )
    return header, rows


def read_numbers(cell):
    """Return the numbers in a cell."""
    numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?", cell)
    return [float(number.rstrip(",").replace(",", "")) for number in numbers]


def is_own(label):
    """Return whether a label names sklearn_mf, or a class or function of it."""
    names = [NAMES.get(word, word) for word in re.findall(r"\w+", label)]
    return any(name.partition(".")[0] == "sklearn_mf" for name in names)


def set_limits(axes, values):
    """Set the scale of x, the same for all panels."""
    low, high = min(values), max(values)
    if low > 0 and high > 5 * low:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.set_xlim(low / 1.2, high * 1.2)
    else:
        margin = (high - low) / 20 or 1
        axes.set_xlim(low - margin, high + margin)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")


def draw_dots(rows, values, title, name):
    """Return a figure of rows, each a label and a cell; dots are below labels."""
    height = 2 * len(rows) + 4
    figure = Figure((WIDTH, height * LINE))
    axes = figure.add_axes((0.01, 2 / height, 0.84, 1 - 4 / height))
    set_limits(axes, values)
    axes.set_ylim(2 * len(rows) - 0.5, -0.5)
    place = {"transform": axes.get_yaxis_transform(), "va": "center"}
    for k, (label, cell) in enumerate(rows):
        own, y = is_own(label), 2 * k + 0.9
        axes.text(0.01, 2 * k, label, **place, weight="bold" if own else "normal")
        axes.text(1.02, y, cell, **place)
        axes.axhline(y, lw=0.6, alpha=0.3, color=TEXT)
        for at in read_numbers(cell):
            axes.plot(at, y, "o", color=OWN if own else OTHER)
    axes.set_title(f"{name}; {title}".removesuffix("; "), **TITLE)
    axes.set_yticks([])
    return figure


def draw_lines(rows, values, title, x_name, y_name):
    """Return a figure of rows, each a label and the cells that hold its points."""
    height = 16 + len(rows)
    figure = Figure((WIDTH, height * LINE))
    bottom = (len(rows) + 4) / height
    axes = figure.add_axes((0.14, bottom, 0.84, 1 - 1.5 / height - bottom))
    set_limits(axes, values)
    for k, (label, *cells) in enumerate(rows):
        points = zip(*map(read_numbers, cells), strict=True)
        style = "-" if is_own(label) else "--"
        axes.plot(*points, style, marker="osD^vP*X"[k % 8], label=label)
    axes.set(xlabel=x_name, ylabel=y_name)
    axes.set_title(title, **TITLE)
    axes.grid(alpha=0.3)
    figure.legend(loc="lower left", frameon=False, labelspacing=0.2)
    return figure


def draw_chart(kind, axes, labels, panels, table):
    """Return the figure of each panel; the arguments are the groups of CHART."""
    header, rows = read_table(table)
    axes, labels, panels = (
        re.findall('"(.+?)"', group or "") for group in (axes, labels, panels)
    )
    rest = [name for name in header if name not in labels + panels]
    shown = axes if kind == "dots" else rest
    parts, above = {}, {}
    for row in rows:
        cells = dict(zip(reversed(header), reversed(row), strict=True))
        cells |= {name: cells[name] or above[name] for name in labels + panels}
        above = cells
        title = ", ".join(f"{name} = {cells[name]}" for name in panels)
        label = ", ".join(cells[name] for name in labels)
        parts.setdefault(title, []).append((label, *(cells[name] for name in shown)))
    drawn = [cell for part in parts.values() for row in part for cell in row[1:]]
    values = [numbers[0] for numbers in map(read_numbers, drawn) if numbers]
    draw = {"dots": draw_dots, "lines": draw_lines}[kind]
    with matplotlib.rc_context(STYLE):
        return [draw(part, values, title, *axes) for title, part in parts.items()]


def write_svg(figure):
    """Return a figure as an element of HTML, in the colours of the theme."""
    file = io.StringIO()
    unsaid = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context(STYLE):
        figure.savefig(file, format="svg", transparent=True, metadata=unsaid)
    svg = file.getvalue()[file.getvalue().index("<svg") :]
    svg = re.sub("<style.*?</style>", "", svg)  # it would hold for the whole page
    svg = re.sub('<g id="[^"]*"', "<g", svg)  # a page has an id once
    return svg.replace(TEXT, "currentColor")


def fold_tables(text):
    """Return a page in which a table that a comment asks a chart of follows it."""

    def replace(match):
        pictures = "\n".join(map(write_svg, draw_chart(*match.groups())))
        return (
            f'```{{raw}} html\n<div class="chart">\n{pictures}</div>\n```\n\n'
            f":::{{dropdown}} The same as a table\n{match[5]}:::\n"
        )

    return CHART.sub(replace, text)


def add_charts(app, docname, source):
    """Draw the charts of a page."""
    source[0] = fold_tables(source[0])


def find_module(app, module, name):
    """Return the module that holds the code of a public object, for its source link.

    Public classes and functions name the public module as theirs; their methods, and
    the globals of their code, know where they were written.
    """
    value = operator.attrgetter(name)(importlib.import_module(module))
    members = vars(value).values() if inspect.isclass(value) else [value]
    for member in map(inspect.unwrap, filter(callable, members)):
        if inspect.isfunction(member):
            return member.__globals__["__name__"]
    return None


def setup(app):
    """Connect the tools to Sphinx."""
    app.connect("source-read", add_charts)
    app.connect("doctree-read", add_outputs)
    app.connect("doctree-read", link_names)
    app.setup_extension("sphinx.ext.viewcode")
    app.connect("viewcode-follow-imported", find_module)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
