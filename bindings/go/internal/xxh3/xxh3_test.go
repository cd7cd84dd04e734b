package xxh3

import "testing"

// random is the input of all digests here: the upper bytes of a linear congruential generator.
func random(n int) []byte {
	data := make([]byte, n)
	x := uint64(1)
	for i := range data {
		x = x*6364136223846793005 + 1442695040888963407
		data[i] = byte(x >> 56)
	}
	return data
}

// Digests of the xxHash library 0.8.
var digests = []struct {
	bytes          int
	sum, high, low uint64
}{
	{0, 0x2d06800538d394c2, 0x99aa06d3014798d8, 0x6001c324468d497f},
	{1, 0xc00f9d4f580c0c3a, 0xc89f16e01381dd11, 0xc00f9d4f580c0c3a},
	{2, 0xb248061fb52bd64c, 0xdfff8fb46bf94599, 0xb248061fb52bd64c},
	{3, 0xe92112d1e602af4a, 0x042980e29fe07a72, 0xe92112d1e602af4a},
	{4, 0x9008de7e100606d1, 0x960811bdc2cb9dc3, 0xf38741e1b9ccfbd4},
	{5, 0xaba4062f24845bdc, 0x940670c9fb2d79c4, 0x19d1bcd6f6b7db50},
	{7, 0x7187a1232e2d811b, 0x89f9a951f84d4b04, 0xe533c8e6e0b450ef},
	{8, 0xcca6ee6f8e080c52, 0xff5c240882695f40, 0x9aac4cd28c312a76},
	{9, 0x568f9d2e69ad8bd0, 0x3ad200a3678150cd, 0x289d4cd1af0c84bd},
	{12, 0x373da156a0ef76b0, 0x56b51d9ff502892e, 0xde25c283636cfbd2},
	{15, 0xf79a07c55bebf28a, 0x59fb6f9b90d83888, 0xb224dd97f6e0c249},
	{16, 0x600a07a4f5a9911c, 0x09bfcf6d0d0c7508, 0x729073442c453ee7},
	{17, 0xdeab0265f35dfc24, 0xc0e06f2f6b379f4a, 0xd0b31235d80538af},
	{31, 0x423b58cf0cc7d932, 0xfce833eae7939e03, 0xaa312d0ddde9624d},
	{32, 0xd04581c566616653, 0x0bee74e0e3ef7423, 0x7a78eb27b3aef28b},
	{33, 0xe2f96cd271e72881, 0xf01a5f3912b24aac, 0x0f2a1f3d6e780688},
	{47, 0xb957313513e974ee, 0x62f7cb2f935d92a9, 0x9fc2263e2a27bf14},
	{48, 0xd95170ea9c7d3100, 0xa47645bbd3ecef7e, 0x49fa9008c34e0054},
	{63, 0x0ede7f30a620477c, 0xbc60a9b574181c48, 0xf2c49aa62f163f8e},
	{64, 0xad0685dabb3ce66b, 0x7d7cc02bbb48520e, 0xed9a84b3780fc908},
	{65, 0x7d4e3da065c21b2d, 0x559e598dd20cb466, 0xac9b1ce636d915da},
	{96, 0xbf9a1938301428ca, 0x14adfddcbd9065a3, 0x23c4ecc869a876ae},
	{97, 0xae7c260494b7847c, 0x66891c04492fc201, 0x972292c2bfea9946},
	{127, 0x422fa93af255d6f6, 0xc27478cc679b3ad9, 0xdbb9b7e80da57775},
	{128, 0x410bd3b4d8d84f51, 0xb0c97cf51fbd420e, 0xc14ef9bdf2926d91},
	{129, 0x55964eec39625032, 0x77672b5beabfd29e, 0x1c66bb88fb267529},
	{143, 0x8733fa8029529e24, 0xd5c9f869aa33a12b, 0x35cce1ec6f923d62},
	{144, 0x827fbbc03ec48dd7, 0xd2a08f752a70f3b0, 0x76d6d06e7ddc6a53},
	{160, 0x94b04a6be24be84b, 0xdb8c7991735df886, 0x1f11bf59d5e3a2c8},
	{161, 0x952685afd892537b, 0x6a6a89a45c857442, 0xa95ca882eeea54d5},
	{200, 0xedced795343597fd, 0xd2e5234aded135cf, 0x9346df8399c88499},
	{239, 0xf5e234500a1f2b94, 0xb9c7a6741ba6770d, 0x3bff140641abd336},
	{240, 0x977b659bdc81fdb1, 0x05fb829868e88d8b, 0x0dfe588c76a0d834},
	{241, 0x2cb1ed4a30c8bded, 0x19f9ed05e7993896, 0x2cb1ed4a30c8bded},
	{255, 0xc77eae9c20c21088, 0x42c2c2a055b3ccf1, 0xc77eae9c20c21088},
	{256, 0x7fd97c6450f19383, 0x1104622b39302212, 0x7fd97c6450f19383},
	{257, 0x42c723a93a4c46b9, 0x15752945fc3fa2a8, 0x42c723a93a4c46b9},
	{511, 0xf2bf2354a8c603a7, 0x2f5aa1efa546bc92, 0xf2bf2354a8c603a7},
	{512, 0xd21b608b44320be0, 0xcc59276fde939412, 0xd21b608b44320be0},
	{513, 0x4b109def33495091, 0xb5a33a01746b58f2, 0x4b109def33495091},
	{1023, 0x296b8bdbd696752e, 0x606e53ea537672a5, 0x296b8bdbd696752e},
	{1024, 0x5ec111a1e5a293ae, 0x92da9c0cebcc106c, 0x5ec111a1e5a293ae},
	{1025, 0x5ea0264528a903fc, 0x76c00571248d6978, 0x5ea0264528a903fc},
	{1087, 0x19785ff014f995e6, 0x10e727dd0289431d, 0x19785ff014f995e6},
	{1088, 0x5caa733531330766, 0x67ee30e57b42f75b, 0x5caa733531330766},
	{1089, 0x093aae8d6736e7b3, 0x970a2873ef25f921, 0x093aae8d6736e7b3},
	{2047, 0xa8a55cc80e1493a4, 0x798375549fb65928, 0xa8a55cc80e1493a4},
	{2048, 0x82651c64d545e737, 0xab48f2dea3ca5add, 0x82651c64d545e737},
	{2049, 0x35fa9759e87c7270, 0x4d726fe56f7ab305, 0x35fa9759e87c7270},
	{4095, 0xfa807db496b34593, 0x7ff116579228b836, 0xfa807db496b34593},
	{4096, 0xa76570548864595e, 0x205cdca1be728c37, 0xa76570548864595e},
	{4097, 0x9dde02683ba48d0e, 0x71900f52b5b86b57, 0x9dde02683ba48d0e},
	{8192, 0xb97940fa848826e9, 0x2768239f58d15724, 0xb97940fa848826e9},
	{32768, 0xec707402f0dc93d6, 0xe9ad67787a1b90a1, 0xec707402f0dc93d6},
	{39999, 0xd05ef2d9838b7704, 0x386791a6782af09e, 0xd05ef2d9838b7704},
}

func TestDigestsAreThoseOfTheXxHashLibrary(t *testing.T) {
	data := random(40000)
	for _, want := range digests {
		if got := Sum64(data[:want.bytes]); got != want.sum {
			t.Errorf("XXH3-64 of %d bytes is %#x, want %#x", want.bytes, got, want.sum)
		}
		if high, low := sum128(data[:want.bytes]); high != want.high || low != want.low {
			t.Errorf("XXH3-128 of %d bytes is %#x %#x", want.bytes, high, low)
		}
	}
}

func TestEveryLengthUpTo4300(t *testing.T) {
	data := random(4300)
	sum := uint64(0)
	for n := range data {
		sum = sum*31 + Sum64(data[:n])
		high, low := sum128(data[:n])
		sum = (sum*31+high)*31 + low
	}
	if want := uint64(0x6adddb37e31ded32); sum != want { // by the xxHash library
		t.Errorf("the digests of all lengths add up to %#x, want %#x", sum, want)
	}
}

func TestTheCanonicalDigestIsBigEndian(t *testing.T) {
	data := random(100)
	high, low := sum128(data)
	digest := Sum128(data)
	if digest[0] != byte(high>>56) || digest[7] != byte(high) || digest[8] != byte(low>>56) || digest[15] != byte(low) {
		t.Errorf("%x for %#x %#x", digest, high, low)
	}
}

func BenchmarkBlock(b *testing.B) {
	data := random(4096)
	b.SetBytes(int64(len(data)))
	for i := 0; i < b.N; i++ {
		Sum64(data)
	}
}
