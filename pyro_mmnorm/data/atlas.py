"""Names of brain regions: the spellings used in tables -> regions of the Desikan-Killiany and aseg atlases.

Sources: the cortical regions are those of Desikan et al. (2006), https://doi.org/10.1016/j.neuroimage.2006.01.021; the
subcortical ones those of Fischl et al. (2002), https://doi.org/10.1016/S0896-6273(02)00569-X; the hippocampal subfields
those of Iglesias et al. (2015), https://doi.org/10.1016/j.neuroimage.2015.04.042. Names are FreeSurfer's own.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

__all__ = ["CORTEX", "MIDLINE", "PAIRED", "SUBFIELDS", "Region", "Side", "System", "region_of"]

Side = Literal["left", "right", ""]
"""'' on the midline, or if a name does not include the side."""
System = Literal["cortex", "subcortex", "hippocampus", "other"]
"""Figure that shows a region; `other` is a known name without a shape: a total, a fluid, white matter."""

CORTEX = (
    "bankssts", "caudalanteriorcingulate", "caudalmiddlefrontal", "cuneus", "entorhinal", "fusiform",
    "inferiorparietal", "inferiortemporal", "isthmuscingulate", "lateraloccipital", "lateralorbitofrontal", "lingual",
    "medialorbitofrontal", "middletemporal", "parahippocampal", "paracentral", "parsopercularis", "parsorbitalis",
    "parstriangularis", "pericalcarine", "postcentral", "posteriorcingulate", "precentral", "precuneus",
    "rostralanteriorcingulate", "rostralmiddlefrontal", "superiorfrontal", "superiorparietal", "superiortemporal",
    "supramarginal", "frontalpole", "temporalpole", "transversetemporal", "insula",
)  # fmt: skip
"""The 34 cortical regions of a hemisphere, in FreeSurfer's order."""

PAIRED: dict[str, str] = {
    "Thalamus": "thal thalamusproper",
    "Caudate": "caud caudatenucleus",
    "Putamen": "put",
    "Pallidum": "pal pall pallid globuspallidus",
    "Hippocampus": "hip hipp hippo",
    "Amygdala": "amy amyg",
    "Accumbens-area": "accumbens accumb nacc nucleusaccumbens",
    "Lateral-Ventricle": "latvent",
    "Inf-Lat-Vent": "inferiorlateralventricle inflatventricle temporalhorn",
    "VentralDC": "ventraldiencephalon",
    "Cerebellum-Cortex": "cerebellumgm cerebellargm cerebellarcortex cerebellumgraymatter cerebellumgreymatter",
    "Cerebellum-White-Matter": "cerebellumwm cerebellarwm cerebellarwhitematter",
}
"""Paired subcortical regions -> other names."""

MIDLINE: dict[str, str] = {
    "3rd-Ventricle": "thirdventricle",
    "4th-Ventricle": "fourthventricle",
    "Brain-Stem": "",
    "CC_Anterior": "corpuscallosumanterior",
    "CC_Mid_Anterior": "corpuscallosummidanterior",
    "CC_Central": "corpuscallosumcentral",
    "CC_Mid_Posterior": "corpuscallosummidposterior",
    "CC_Posterior": "corpuscallosumposterior",
}
"""Subcortical regions on the midline -> other names."""

SUBFIELDS: dict[str, str] = {
    "CA1": "",
    "CA3": "ca23 ca2ca3",
    "CA4": "hilus",
    "GC-ML-DG": "dg gcdg dentategyrus",
    "CA4-DG": "",
    "molecular_layer_HP": "molecularlayer ml",
    "subiculum": "sub",
    "presubiculum": "presub",
    "parasubiculum": "parasub",
    "fimbria": "",
    "HATA": "",
    "Hippocampal_tail": "tail hippocampustail",
}
"""Hippocampal subfields -> other names; `CA4-DG` combines CA4 and GC-DG, as before FreeSurfer 6."""

_OTHER = (
    "csf", "opticchiasm", "vessel", "choroidplexus", "fifthventricle", "5thventricle", "wmhypointensities",
    "nonwmhypointensities", "hypointensities", "unsegmentedwhitematter", "whitematter", "hippocampalfissure",
    "wholehippocampus", "wholehippocampalhead", "wholehippocampalbody", "meanthickness", "meanthicknessglobal",
    "whitesurfarea", "pialsurfarea", "totalsurface", "corticalgm", "corticalwm", "subcorticalgm", "totalgm",
    "hemispherewm", "cortexvol", "corticalwhitemattervol", "cerebralwhitemattervol", "cerebralwhitematter",
    "cerebralcortex", "subcortgrayvol",
    "totalgrayvol", "brainseg", "brainsegvol", "brainsegvolnotvent", "brainsegvolnotventsurf",
    "brainsegvoltoetiv", "supratentorial", "supratentorialvol", "supratentorialvolnotvent",
    "supratentorialvolnotventvox", "mask", "maskvol", "maskvoltoetiv", "surfaceholes", "etiv", "icv",
    "intracranialvol", "estimatedtotalintracranial", "estimatedtotalintracranialvol", "wholebrain",
    "ventricles", "midtemp",
)  # fmt: skip
_SIDES: dict[str, Side] = {"left": "left", "lh": "left", "l": "left", "right": "right", "rh": "right", "r": "right"}
_MEASURES = {
    "volume", "volumes", "vol", "thickness", "thickavg", "thicknessstd", "thickstd", "area", "surfavg",
    "surfarea", "meancurv", "gauscurv", "foldind", "curvind", "grayvol", "mean", "average", "measure", "of",
    "in", "the", "hemisphere", "ctx", "aparc", "aseg", "mm", "mm2", "mm3",
}  # fmt: skip
_ENDINGS = ("cortex", "gyrus", "lobule")


@dataclass(frozen=True)
class Region:
    """A region of one hemisphere, or of the midline.

    Args:
        name: Its name in FreeSurfer, without side and measure.
        side: `left` or `right`; '' on the midline, or if the name does not include the side.
        system: Figure that shows it.

    Examples:
        >>> Region("bankssts", "left", "cortex").id, Region("CA1-head", "right", "hippocampus").id
        ('ctx-lh-bankssts', 'right_CA1-head')
    """

    name: str
    side: Side
    system: System

    @property
    def id(self) -> str:
        """The name in FreeSurfer's colour table, which is the key of the shapes."""
        if not self.side:
            return self.name
        if self.system == "cortex":
            return f"ctx-{self.side[0]}h-{self.name}"
        return f"{self.side}_{self.name}" if self.system == "hippocampus" else f"{self.side.title()}-{self.name}"


def _squashed(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _subfields() -> Iterator[tuple[str, str]]:
    """Words for a subfield -> its name, whole and, if split in FreeSurfer 7, by head and body."""
    for name, others in SUBFIELDS.items():
        for word in (_squashed(name), *others.split()):
            yield word, name
            if name not in ("fimbria", "HATA", "parasubiculum", "Hippocampal_tail"):
                yield from ((f"{word}{part}", f"{name}-{part}") for part in ("head", "body"))


@cache
def _words() -> dict[str, tuple[str, System]]:
    """Every word in lower case without punctuation -> FreeSurfer's name and its system."""
    words: dict[str, tuple[str, System]] = {word: (word, "other") for word in _OTHER}
    words |= {f"wm{name}": (f"wm-{name}", "other") for name in CORTEX}
    words |= {word: (name, "hippocampus") for word, name in _subfields()}
    for table in (PAIRED, MIDLINE):
        words |= {w: (name, "subcortex") for name, more in table.items() for w in (_squashed(name), *more.split())}
    banks = ("bankssuperiortemporalsulcus", "banksofsuperiortemporalsulcus", "banksofthesuperiortemporalsulcus")
    return words | {name: (name, "cortex") for name in CORTEX} | dict.fromkeys(banks, ("bankssts", "cortex"))


def _base(word: str) -> tuple[str, System] | None:
    """The region named by a word without side; `superior frontal gyrus` is `superiorfrontal`."""
    endings = ("", *(ending for ending in _ENDINGS if word.endswith(ending)))
    return next((found for end in endings if (found := _words().get(word.removesuffix(end)))), None)


def _parts(name: str) -> tuple[Side, str] | None:
    """Side and squashed word of a name; None if it contains both sides."""
    tokens = [token for token in re.split(r"[^a-z0-9]+", name.lower()) if token]
    whole = "".join(tokens)
    tokens = [token for token in tokens if token not in _MEASURES]
    ends = {0, len(tokens) - 1}
    at = [i for i, token in enumerate(tokens) if token in _SIDES and (len(token) > 1 or i in ends)]
    if len({_SIDES[tokens[i]] for i in at}) > 1:
        return None
    word = "".join(token for i, token in enumerate(tokens) if i not in at)
    if at:
        return _SIDES[tokens[at[0]]], word
    glued = ((side, text.removeprefix(side)) for text in (word, whole) for side in _SIDES if text.startswith(side))
    if not _base(word) and (found := next(((side, rest) for side, rest in glued if _base(rest)), None)):
        return _SIDES[found[0]], found[1]
    return "", word


def _parsed(name: str) -> Region | None:
    found = _parts(name)
    if found is None or (base := _base(found[1])) is None:
        return None
    (side, _), (word, system) = found, base
    if word in MIDLINE:
        return None if side else Region(word, "", "subcortex")
    if system == "other":
        return Region(word, side, "other")
    return Region(word, side, system if side else "other")


@cache
def region_of(name: str) -> Region | None:
    """The region named by a column of a table or of results; None if unknown.

    Accepted are FreeSurfer's tables (`lh_bankssts_volume`, `Left-Thalamus-Proper`, `left_CA1-head`) and colour table
    (`ctx-lh-bankssts`), ENIGMA's names (`L_bankssts_thickavg`, `Lthal`, `LLatVent`), ADNI's (`LeftBankssts`), UK
    Biobank's (`Volume of cuneus (left hemisphere) | Instance 2`), the side before or after the region, and a
    modality with a dot as prefix. A paired region without a side is of system `other`, since it has no shape.

    Examples:
        >>> region_of("thickness.lh_bankssts_thickness").id
        'ctx-lh-bankssts'
        >>> region_of("Rhippo").id, region_of("CSF").system, region_of("no region")
        ('Right-Hippocampus', 'other', None)
    """
    text = name.partition("|")[0]
    tails = (text, *(text.split(".", cut)[-1] for cut in range(1, text.count(".") + 1)))
    return next((found for tail in tails if (found := _parsed(tail))), None)
