"""Whether volumes lie where their sources lie, by nibabel: predict_geometry.py SOURCES PREDICTED.

Of each SOURCES/s*_flair.nii.gz there are PREDICTED/s*_map.nii.gz and _mask.nii.gz: shape, affine, codes, spacing, units
and orientation are those of the source, and a mask holds 0 and 1. Says how many orientations it saw.
"""

import sys
from pathlib import Path

import nibabel
import numpy


def check(source, written):
    assert written.shape == source.shape, (written.shape, source.shape)
    assert numpy.allclose(written.affine, source.affine, atol=1e-4), (written.affine, source.affine)
    for form in ("get_sform", "get_qform"):
        matrix, code = getattr(written, form)(coded=True)
        expected, expected_code = getattr(source, form)(coded=True)
        assert code == expected_code, (form, code, expected_code)
        assert code == 0 or numpy.allclose(matrix, expected, atol=1e-4), (form, matrix, expected)
    assert numpy.allclose(written.header.get_zooms(), source.header.get_zooms())
    assert written.header.get_xyzt_units() == source.header.get_xyzt_units()


def main(sources, predicted):
    seen = set()
    for path in sorted(Path(sources).glob("*_flair.nii.gz")):
        source = nibabel.load(path)
        subject = path.name.removesuffix("_flair.nii.gz")
        for kind in ("map", "mask"):
            written = nibabel.load(Path(predicted) / f"{subject}_{kind}.nii.gz")
            try:
                check(source, written)
            except AssertionError as error:
                sys.exit(f"{subject}_{kind}: {error}")
        values = numpy.unique(numpy.asanyarray(written.dataobj))
        if not numpy.isin(values, (0, 1)).all():
            sys.exit(f"{subject}_mask: values {values}")
        seen.add(nibabel.aff2axcodes(source.affine))
    print(len(seen))


main(*sys.argv[1:])
