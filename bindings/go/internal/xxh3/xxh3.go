// Package xxh3 computes XXH3-64 and XXH3-128 with seed 0 and the default secret, the checksums of
// lamina's files. The algorithm is that of the xxHash library (version 0.8); nothing here depends on
// the machine's byte order.
package xxh3

import (
	"encoding/binary"
	"math/bits"
)

const (
	prime32x1 uint64 = 0x9E3779B1
	prime32x2 uint64 = 0x85EBCA77
	prime32x3 uint64 = 0xC2B2AE3D

	prime64x1 uint64 = 0x9E3779B185EBCA87
	prime64x2 uint64 = 0xC2B2AE3D27D4EB4F
	prime64x3 uint64 = 0x165667B19E3779F9
	prime64x4 uint64 = 0x85EBCA77C2B2AE63
	prime64x5 uint64 = 0x27D4EB2F165667C5

	mix1 uint64 = 0x165667919E3779F9
	mix2 uint64 = 0x9FB21C651E98DF25

	stripeBytes = 64
	// Stripes after which the accumulators are scrambled: the secret moves by 8 bytes per stripe.
	stripesPerBlock = (secretBytes - stripeBytes) / 8
	blockBytes      = stripeBytes * stripesPerBlock

	secretBytes    = 192
	secretMinBytes = 136
	mergeStart     = 11
	lastStripe     = secretBytes - stripeBytes - 7
)

var secret = [secretBytes]byte{
	0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
	0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
	0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
	0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
	0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
	0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
	0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
	0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
	0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
	0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
	0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
	0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
}

// The secret as words: at multiples of 8, and for the last stripe.
var (
	secretWords = words(secret[:])
	lastWords   = words(secret[lastStripe : lastStripe+stripeBytes])
)

func words(bytes []byte) []uint64 {
	list := make([]uint64, len(bytes)/8)
	for i := range list {
		list[i] = read64(bytes[8*i:])
	}
	return list
}

func read64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
func read32(b []byte) uint64 { return uint64(binary.LittleEndian.Uint32(b)) }

// Sum64 returns the XXH3-64 of data.
func Sum64(data []byte) uint64 {
	switch n := len(data); {
	case n > 240:
		acc := accumulate(data)
		return merge(&acc, mergeStart, uint64(n)*prime64x1)
	case n > 128:
		return sum64Upto240(data)
	case n > 16:
		return sum64Upto128(data)
	case n > 8:
		return sum64Upto16(data)
	case n >= 4:
		keyed := (read32(data[n-4:]) + read32(data)<<32) ^ (read64(secret[8:]) ^ read64(secret[16:]))
		return rrmxmx(keyed, uint64(n))
	case n > 0:
		return avalanche64(uint64(combined(data)) ^ (read32(secret[0:]) ^ read32(secret[4:])))
	default:
		return avalanche64(read64(secret[56:]) ^ read64(secret[64:]))
	}
}

// Sum128 returns the XXH3-128 of data in canonical (big-endian) order.
func Sum128(data []byte) [16]byte {
	high, low := sum128(data)
	var digest [16]byte
	binary.BigEndian.PutUint64(digest[:], high)
	binary.BigEndian.PutUint64(digest[8:], low)
	return digest
}

func sum128(data []byte) (high, low uint64) {
	switch n := len(data); {
	case n > 240:
		acc := accumulate(data)
		return merge(&acc, secretBytes-stripeBytes-mergeStart, ^(uint64(n) * prime64x2)),
			merge(&acc, mergeStart, uint64(n)*prime64x1)
	case n > 16:
		return sum128Upto240(data)
	case n > 8:
		return sum128Upto16(data)
	case n >= 4:
		return sum128Upto8(data)
	case n > 0:
		low32 := combined(data)
		high32 := bits.RotateLeft32(bits.ReverseBytes32(low32), 13)
		return avalanche64(uint64(high32) ^ (read32(secret[8:]) ^ read32(secret[12:]))),
			avalanche64(uint64(low32) ^ (read32(secret[0:]) ^ read32(secret[4:])))
	default:
		return avalanche64(read64(secret[80:]) ^ read64(secret[88:])),
			avalanche64(read64(secret[64:]) ^ read64(secret[72:]))
	}
}

// combined mixes 1 to 3 bytes and their number.
func combined(data []byte) uint32 {
	n := len(data)
	return uint32(data[0])<<16 | uint32(data[n>>1])<<24 | uint32(data[n-1]) | uint32(n)<<8
}

func sum64Upto16(data []byte) uint64 {
	n := len(data)
	low := read64(data) ^ (read64(secret[24:]) ^ read64(secret[32:]))
	high := read64(data[n-8:]) ^ (read64(secret[40:]) ^ read64(secret[48:]))
	return avalanche(uint64(n) + bits.ReverseBytes64(low) + high + fold(low, high))
}

func sum64Upto128(data []byte) uint64 {
	n := len(data)
	acc := uint64(n) * prime64x1
	for i := (n - 1) / 32; i >= 0; i-- {
		acc += mix16(data[16*i:], secret[32*i:])
		acc += mix16(data[n-16*(i+1):], secret[32*i+16:])
	}
	return avalanche(acc)
}

func sum64Upto240(data []byte) uint64 {
	n := len(data)
	acc := uint64(n) * prime64x1
	for i := 0; i < 8; i++ {
		acc += mix16(data[16*i:], secret[16*i:])
	}
	acc = avalanche(acc)
	for i := 8; i < n/16; i++ {
		acc += mix16(data[16*i:], secret[16*(i-8)+3:])
	}
	acc += mix16(data[n-16:], secret[secretMinBytes-17:])
	return avalanche(acc)
}

func sum128Upto8(data []byte) (high, low uint64) {
	n := len(data)
	keyed := (read32(data) + read32(data[n-4:])<<32) ^ (read64(secret[16:]) ^ read64(secret[24:]))
	high, low = bits.Mul64(keyed, prime64x1+uint64(n)<<2)
	high += low << 1
	low ^= high >> 3
	low ^= low >> 35
	low *= mix2
	low ^= low >> 28
	return avalanche(high), low
}

func sum128Upto16(data []byte) (high, low uint64) {
	n := len(data)
	first, last := read64(data), read64(data[n-8:])
	high, low = bits.Mul64(first^last^(read64(secret[32:])^read64(secret[40:])), prime64x1)
	low += uint64(n-1) << 54
	last ^= read64(secret[48:]) ^ read64(secret[56:])
	high += last + uint64(uint32(last))*(prime32x2-1)
	low ^= bits.ReverseBytes64(high)
	carried := high * prime64x2
	high, low = bits.Mul64(low, prime64x2)
	return avalanche(high + carried), avalanche(low)
}

func sum128Upto240(data []byte) (high, low uint64) {
	n := len(data)
	low = uint64(n) * prime64x1
	mix := func(a, b, key []byte) {
		low = (low + mix16(a, key)) ^ (read64(b) + read64(b[8:]))
		high = (high + mix16(b, key[16:])) ^ (read64(a) + read64(a[8:]))
	}
	if n <= 128 {
		for i := (n - 1) / 32; i >= 0; i-- {
			mix(data[16*i:], data[n-16*(i+1):], secret[32*i:])
		}
	} else {
		for i := 0; i < 4; i++ {
			mix(data[32*i:], data[32*i+16:], secret[32*i:])
		}
		high, low = avalanche(high), avalanche(low)
		for i := 4; i < n/32; i++ {
			mix(data[32*i:], data[32*i+16:], secret[3+32*(i-4):])
		}
		mix(data[n-16:], data[n-32:], secret[secretMinBytes-17-16:])
	}
	return -avalanche(low*prime64x1 + high*prime64x4 + uint64(n)*prime64x2), avalanche(low + high)
}

// accumulate reads more than 240 bytes.
func accumulate(data []byte) [8]uint64 {
	acc := [8]uint64{prime32x3, prime64x1, prime64x2, prime64x3, prime64x4, prime32x2, prime64x5, prime32x1}
	last := data[len(data)-stripeBytes:]
	for len(data) > blockBytes {
		stripes(&acc, data[:blockBytes])
		for i := range acc {
			acc[i] = (acc[i] ^ acc[i]>>47 ^ secretWords[stripesPerBlock+i]) * prime32x1
		}
		data = data[blockBytes:]
	}
	stripes(&acc, data[:(len(data)-1)/stripeBytes*stripeBytes])
	stripe(&acc, last, lastWords)
	return acc
}

func stripes(acc *[8]uint64, data []byte) {
	for i := 0; len(data) >= stripeBytes; i++ {
		stripe(acc, data, secretWords[i:])
		data = data[stripeBytes:]
	}
}

// stripe is unrolled: it takes nearly all of the time.
func stripe(acc *[8]uint64, data []byte, key []uint64) {
	_, _ = data[stripeBytes-1], key[7]
	v0, v1 := read64(data[0:]), read64(data[8:])
	k0, k1 := v0^key[0], v1^key[1]
	acc[0] += v1 + uint64(uint32(k0))*(k0>>32)
	acc[1] += v0 + uint64(uint32(k1))*(k1>>32)
	v2, v3 := read64(data[16:]), read64(data[24:])
	k2, k3 := v2^key[2], v3^key[3]
	acc[2] += v3 + uint64(uint32(k2))*(k2>>32)
	acc[3] += v2 + uint64(uint32(k3))*(k3>>32)
	v4, v5 := read64(data[32:]), read64(data[40:])
	k4, k5 := v4^key[4], v5^key[5]
	acc[4] += v5 + uint64(uint32(k4))*(k4>>32)
	acc[5] += v4 + uint64(uint32(k5))*(k5>>32)
	v6, v7 := read64(data[48:]), read64(data[56:])
	k6, k7 := v6^key[6], v7^key[7]
	acc[6] += v7 + uint64(uint32(k6))*(k6>>32)
	acc[7] += v6 + uint64(uint32(k7))*(k7>>32)
}

func merge(acc *[8]uint64, keyOffset int, start uint64) uint64 {
	result := start
	for i := 0; i < 4; i++ {
		key := secret[keyOffset+16*i:]
		result += fold(acc[2*i]^read64(key), acc[2*i+1]^read64(key[8:]))
	}
	return avalanche(result)
}

func mix16(data, key []byte) uint64 {
	return fold(read64(data)^read64(key), read64(data[8:])^read64(key[8:]))
}

func fold(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

func avalanche(h uint64) uint64 {
	h ^= h >> 37
	h *= mix1
	return h ^ h>>32
}

func avalanche64(h uint64) uint64 {
	h ^= h >> 33
	h *= prime64x2
	h ^= h >> 29
	h *= prime64x3
	return h ^ h>>32
}

func rrmxmx(h, n uint64) uint64 {
	h ^= bits.RotateLeft64(h, 49) ^ bits.RotateLeft64(h, 24)
	h *= mix2
	h ^= h>>35 + n
	h *= mix2
	return h ^ h>>28
}
