"""Readers: what people really have becomes rows. No photo is opened here, nothing is written.

============== ==================================================================================================
layout         what it looks like
============== ==================================================================================================
folders        class folders, with split folders at any level or none: ``train/female/1.jpg``, ``man/2.jpg``
csv            a CSV or Parquet table with path and label, and any other column
utkface        names that hold the labels: ``26_1_2_20170116184024662.jpg`` (age, gender, race, date and time)
fairface       ``fairface_label_train.csv`` and ``fairface_label_val.csv`` beside ``train/`` and ``val/``
celeba         ``list_attr_celeba.txt`` or ``.csv`` and ``img_align_celeba/``, with splits and persons where known
all_age_faces  names such as ``00000A02.jpg``, and ``image sets/train.txt`` and ``val.txt``
============== ==================================================================================================

Labels of class folders and tables are kept letter by letter; codes of known sets become words by the one table in
:mod:`edgegender.data.readers.codes`. The label is the perceived gender as annotated, or whatever else the source says.
"""

from edgegender.data.readers.found import FoundPhoto, ReadResult, SkippedFile
from edgegender.data.readers.layouts import LAYOUTS, read_layout
from edgegender.data.readers.listing import find_photos

__all__ = ["LAYOUTS", "FoundPhoto", "ReadResult", "SkippedFile", "find_photos", "read_layout"]
