package reader

import (
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/google/uuid"
)

// Facts is what snapshot.json says of a snapshot besides its memory. No checksum covers it.
type Facts struct {
	PauseID, BuildID uuid.UUID
	// Created is the time of the pause, RFC 3339 in UTC, as it is in the file.
	Created      string
	Generation   uint64
	MemoryBytes  int64
	HeaderFormat Format
	// HeaderDigest is the header's file. Headers of versions 1 and 3 have no checksum but this one.
	HeaderDigest FileDigest
	// VMState is the file snapfile, or nil.
	VMState *FileDigest
	// ParentPauseID is nil if the snapshot has no parent, Parent the parent's name at the time.
	ParentPauseID *uuid.UUID
	Parent        string
	// Origin is where the VM ran; unknown fields are "".
	Origin Origin

	hasChecksums map[uuid.UUID]bool
}

// Origin is the host and the VMM that made a state.
type Origin struct {
	VMMVersion, CPU, Kernel string
	// HugePages is the pages of the VM's memory, in Firecracker's words.
	HugePages string
}

const factsVersion = 1

// factsReader reads fields by their exact names and keeps the name of the first wrong one.
type factsReader struct {
	fields map[string]json.RawMessage
	wrong  string
}

func (r *factsReader) bad(name string) {
	if r.wrong == "" {
		r.wrong = name
	}
}

// get decodes a field into value. A field that is absent or null is wrong unless it is optional.
func (r *factsReader) get(name string, value interface{}, optional bool) bool {
	raw, ok := r.fields[name]
	if !ok || string(raw) == "null" {
		if !optional {
			r.bad(name)
		}
		return false
	}
	if json.Unmarshal(raw, value) != nil {
		r.bad(name)
		return false
	}
	return true
}

func (r *factsReader) number(name string) (value uint64) {
	r.get(name, &value, false)
	return value
}

func (r *factsReader) text(name string, optional bool) (value string) {
	r.get(name, &value, optional)
	return value
}

func (r *factsReader) uuid(name string, optional bool) *uuid.UUID {
	var text string
	if !r.get(name, &text, optional) {
		return nil
	}
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 {
		r.bad(name)
		return nil
	}
	return &id
}

func (r *factsReader) object(name string, optional bool) *factsReader {
	inner := &factsReader{}
	if !r.get(name, &inner.fields, optional) {
		return nil
	}
	return inner
}

func (r *factsReader) digest(name string, optional bool) *FileDigest {
	inner := r.object(name, optional)
	if inner == nil {
		return nil
	}
	digest := &FileDigest{Bytes: inner.number("bytes")}
	text := inner.text("xxh3_128", false)
	raw, err := hex.DecodeString(text)
	if inner.wrong != "" || err != nil || len(raw) != len(digest.Digest) || strings.ToLower(text) != text {
		r.bad(name)
		return nil
	}
	copy(digest.Digest[:], raw)
	return digest
}

// decodeFacts decodes snapshot.json.
func decodeFacts(data []byte) (*Facts, error) {
	r := &factsReader{}
	if json.Unmarshal(data, &r.fields) != nil || r.fields == nil {
		return nil, corrupt(NoOffset, "it is not a JSON object")
	}
	version := r.number("version")
	if r.wrong == "" && version != factsVersion {
		return nil, unsupported(NoOffset, "it has version %d; this package reads version %d", version, factsVersion)
	}
	facts := &Facts{
		Created:       r.text("created", false),
		Generation:    r.number("generation"),
		VMState:       r.digest("vmstate", true),
		ParentPauseID: r.uuid("parent_pause_id", true),
		Parent:        r.text("parent", true),
	}
	memoryBytes := r.number("memory_bytes")
	if memoryBytes > maxBlocks*BlockSize {
		r.bad("memory_bytes")
	}
	facts.MemoryBytes = int64(memoryBytes)
	if id := r.uuid("pause_id", false); id != nil {
		facts.PauseID = *id
	}
	if id := r.uuid("build_id", false); id != nil {
		facts.BuildID = *id
	}
	if digest := r.digest("header", false); digest != nil {
		facts.HeaderDigest = *digest
	}
	if facts.HeaderFormat = formatOf(r.text("header_format", false)); facts.HeaderFormat == 0 {
		r.bad("header_format")
	}
	facts.hasChecksums = r.layers()
	if origin := r.object("origin", true); origin != nil {
		facts.Origin = Origin{origin.text("vmm_version", true), origin.text("cpu", true), origin.text("kernel", true), origin.text("huge_pages", true)}
		if origin.wrong != "" {
			r.bad("origin")
		}
	}
	if r.wrong != "" {
		return nil, corrupt(NoOffset, "its field '%s' is missing or wrong", r.wrong)
	}
	return facts, nil
}

// layers returns which layers have checksums.
func (r *factsReader) layers() map[uuid.UUID]bool {
	var list []map[string]json.RawMessage
	r.get("layers", &list, false)
	checksums := make(map[uuid.UUID]bool, len(list))
	for _, fields := range list {
		inner := &factsReader{fields: fields}
		id := inner.uuid("build_id", false)
		var has bool
		inner.get("checksums", &has, false)
		if inner.wrong != "" {
			r.bad("layers")
			return nil
		}
		checksums[*id] = checksums[*id] || has
	}
	return checksums
}

func formatOf(word string) Format {
	for _, format := range []Format{FormatNative, FormatV1, FormatV3} {
		if format.String() == word {
			return format
		}
	}
	return 0
}
