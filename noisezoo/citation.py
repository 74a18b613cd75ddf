"""The paper whose claims are tested, its authors' own code and dataset, and how to cite it."""

TITLE = "The Universal Normal Embedding"
AUTHORS = ("Chen Tasker", "Roy Betser", "Eyal Gofer", "Meir Yossef Levi", "Guy Gilboa")
VENUE = "CVPR 2026"
PAPER_URL = "https://arxiv.org/abs/2603.21786"
CODE_URL = "https://github.com/chentasker/UNE"
DATASET_URL = "https://huggingface.co/datasets/chentasker/NoiseZoo"
BIBTEX = """\
@inproceedings{tasker2026une,
  title     = {The Universal Normal Embedding},
  author    = {Tasker, Chen and Betser, Roy and Gofer, Eyal and Levi, Meir Yossef and Gilboa, Guy},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2026},
  note      = {arXiv:2603.21786}
}
"""


def source_links() -> dict[str, str]:
    """The names and addresses that a page shows: title, authors, venue, and the URLs of paper, code and dataset."""
    return {
        "title": TITLE, "authors": ", ".join(AUTHORS[:-1]) + " and " + AUTHORS[-1], "venue": VENUE,
        "paper": PAPER_URL, "code": CODE_URL, "dataset": DATASET_URL, "bibtex": BIBTEX,
    }  # fmt: skip
