"""The checksums, against values of the xxHash library."""

from __future__ import annotations

import random
import unittest

import support  # noqa: F401

from lamina import xxh3

# Length of the input -> XXH3-64 and XXH3-128 of so many bytes of pattern(), by libxxhash 0.8.1.
# The lengths are the borders between the formulas.
EXPECTED = {
    0: ("2d06800538d394c2", "99aa06d3014798d86001c324468d497f"),
    1: ("e12ef9d2eb86ceeb", "51025a4491835505e12ef9d2eb86ceeb"),
    2: ("e406c97925067f24", "4f79528c6bb1486de406c97925067f24"),
    3: ("5c83885a0fb5d516", "f727126d6288a4bd5c83885a0fb5d516"),
    4: ("244f36de481e7522", "6a20c426eb2da17d217908f07519e96e"),
    8: ("96cc97a6768fd7a9", "dd669d5507e0e9404506373ef0af21f8"),
    9: ("4781d83b8e99d495", "781bfd0e8d95a9ada51b142882780bcb"),
    16: ("913bd4a8038027a7", "6c53b945f90d679849bf196d35649b79"),
    17: ("2bf6f66973a6179d", "f889d91b7faf208294ad051aea796d7e"),
    32: ("5d503b89ae6f56c6", "2cb559bb64d293e9369cab951c511911"),
    33: ("b192963ede5ed5ab", "60f5a4577ba82b1c2ef00541392ecc50"),
    64: ("13886553e7dc3fa3", "49b043631b5d4d5192fd891d246fb531"),
    96: ("df49263b54999fcd", "1939f2a73ddc43eca88b752cfafc28c3"),
    97: ("74f3d6ff540707b9", "0dd98837fd4f559e4d36251a2e320331"),
    128: ("c4399c7829d0628f", "776e5a2cae08df3bd480e3bdeadbf37f"),
    129: ("8433489056750b32", "b550da2f042256556a4dda91524c13ef"),
    144: ("d917ecabc86549b2", "927950c8712203f7f3086ec1de74e50f"),
    160: ("13d314029718f121", "1cbbc2b4950bdb766cc4a404001acef7"),
    240: ("3c0bb96864e543a1", "3f558c88fda1da664f23bfd3609734e8"),
    241: ("bff7215089202d8f", "9ea4272027cb71fcbff7215089202d8f"),
    256: ("c03402b5dce3dbfa", "64c166f4724707e6c03402b5dce3dbfa"),
    1023: ("60bb7337eff80653", "e696c93e80dc69f960bb7337eff80653"),
    1024: ("33ba39360ec01521", "0514a69231f1f60e33ba39360ec01521"),
    1025: ("a786915585c6bf1b", "95d9e0f2aa81ad40a786915585c6bf1b"),
    4096: ("871faaa2f1da7546", "a10e711b35f41f0f871faaa2f1da7546"),
}


def pattern(size: int) -> bytes:
    """Bytes without a short period."""
    return bytes((7 * i + (i >> 8) * 13 + 1) & 0xFF for i in range(size))


class Xxh3Test(unittest.TestCase):
    """Both implementations."""

    def test_python_gives_the_values_of_the_library(self) -> None:
        for size, (short, long) in EXPECTED.items():
            with self.subTest(size=size):
                data = pattern(size)
                self.assertEqual(f"{xxh3.digest64_in_python(data):016x}", short)
                self.assertEqual(xxh3.digest128_in_python(data).hex(), long)

    def test_what_is_used_gives_the_same(self) -> None:
        for size, (short, long) in EXPECTED.items():
            with self.subTest(size=size):
                data = memoryview(bytearray(pattern(size)))
                self.assertEqual(f"{xxh3.digest64(data):016x}", short)
                self.assertEqual(xxh3.digest128(data).hex(), long)

    def test_the_installed_library_agrees_at_every_length(self) -> None:
        library = xxh3._load_library()
        if library is None:
            self.skipTest("libxxhash is not installed")
        rng = random.Random(1)
        for size in [*range(1100), 2048, 4095, 4096, 4097, 65536]:
            data = rng.getrandbits(8 * size).to_bytes(size, "little") if size else b""
            self.assertEqual(library.digest64(data), xxh3.digest64_in_python(data), size)
            self.assertEqual(library.digest128(data), xxh3.digest128_in_python(data), size)


if __name__ == "__main__":
    unittest.main()
