"""Settings of the site that workflow/report.py has Sphinx build: nothing in it comes from the network."""

from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

project = "Defective WSe2"
author = "The WSe2 phonons compendium authors"
copyright = "the authors; code: MIT, text, data and figures: CC-BY-4.0"
extensions = ["myst_nb"]

nb_execution_mode = "off"
nb_ipywidgets_js = {}  # which would be fetched
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
smartquotes = False  # in E'' and A1' they are no quotation marks

add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80

html_theme = "sphinx_book_theme"
html_title = "Defective WSe2"
html_theme_options = {
    "navbar_persistent": [],
    "show_prev_next": False,
    "show_toc_level": 2,
    "use_download_button": False,
}
html_context = {"default_mode": "light"}  # as the figures are
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_domain_indices = False
html_use_index = False  # the search and the reference have all that is in it
html_show_sourcelink = False
html_show_search_summary = False  # a page from a folder may not read the others


def inline_formula(translator: Any, node: nodes.math) -> None:
    """Write a formula within the text as MathML, which a browser draws without a script."""
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def displayed_formula(translator: Any, node: nodes.math_block) -> None:
    """Write a formula that has lines to itself."""
    translator.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Name the renderer of formulae."""
    app.add_html_math_renderer("mathml", (inline_formula, None), (displayed_formula, None))
