package reader

import (
	"encoding/binary"

	"github.com/google/uuid"
)

// cursor reads little-endian fields one after the other. The caller has checked that the bytes are
// there: reading past the end panics.
type cursor struct {
	data []byte
}

func (c *cursor) bytes(n int) []byte {
	field := c.data[:n]
	c.data = c.data[n:]
	return field
}

func (c *cursor) u16() uint16 { return binary.LittleEndian.Uint16(c.bytes(2)) }
func (c *cursor) u32() uint32 { return binary.LittleEndian.Uint32(c.bytes(4)) }
func (c *cursor) u64() uint64 { return binary.LittleEndian.Uint64(c.bytes(8)) }

func (c *cursor) uuid() uuid.UUID {
	var id uuid.UUID
	copy(id[:], c.bytes(len(id)))
	return id
}
