package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
)

// Files that wrenn's own package wrote, from lamina's tests.
const vectorsPath = "../../../../tests/data/original_v1.json"

type vector struct {
	Name  string
	Input struct {
		Op, Parent, Zeros string
		Build             uuid.UUID `json:"build_id"`
		Size              int       `json:"memfile_size"`
		Data              []struct {
			Block, Count int
			Seed         uint64
		} `json:"data_extents"`
	}
	Expected struct {
		Generation uint64
		Header     string `json:"header_hex"`
		DiffSha    string `json:"diff_sha256"`
		MemorySha  string `json:"resolved_memory_sha256"`
	}
}

func splitmix64(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
	x = (x ^ (x >> 27)) * 0x94D049BB133111EB
	return x ^ (x >> 31)
}

func sum(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

// blocks of the memory file of a vector; the seed 0 is zeros.
func (v *vector) blocks() map[int][]byte {
	written := map[int][]byte{}
	for _, run := range v.Input.Data {
		for n := run.Block; n < run.Block+run.Count; n++ {
			data := make([]byte, block)
			for i := 0; i < block/8 && run.Seed != 0; i++ {
				binary.LittleEndian.PutUint64(data[8*i:], splitmix64(run.Seed*1000003+uint64(n)*512+uint64(i)))
			}
			written[n] = data
		}
	}
	return written
}

func TestTheFilesAreThoseOfWrenn(t *testing.T) {
	text, err := os.ReadFile(vectorsPath)
	if os.IsNotExist(err) {
		t.Skip("lamina's tests are not here: the package was copied")
	}
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []vector }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	headers, diffs := map[string]*Header{}, map[string]map[string]string{}
	for _, v := range file.Cases {
		diff, headerPath := filepath.Join(directory, v.Name), filepath.Join(directory, v.Name+".header")
		files := map[string]string{v.Input.Build.String(): diff}
		for id, path := range diffs[v.Input.Parent] {
			files[id] = path
		}
		raw := filepath.Join(directory, "raw")
		meaning := ZerosWritten
		if v.Input.Zeros == "inherit" {
			meaning = ZerosInherit
		}
		withZeros(t, meaning)
		var h *Header
		switch v.Input.Op {
		case "full":
			writeSparse(t, raw, v.Input.Size, v.blocks())
			h, err = ProcessMemfile(raw, diff, headerPath, v.Input.Build)
		case "diff":
			writeSparse(t, raw, v.Input.Size, v.blocks())
			h, err = ProcessMemfileWithParent(raw, diff, headerPath, headers[v.Input.Parent], v.Input.Build)
		default:
			if h, err = MergeDiffs(headers[v.Input.Parent], files, diff, headerPath); err == nil {
				files = map[string]string{h.Metadata.BuildID.String(): diff}
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		headers[v.Name], diffs[v.Name] = h, files
		data, err := os.ReadFile(diff)
		if err != nil {
			t.Fatal(err)
		}
		if sum(data) != v.Expected.DiffSha || h.Metadata.Generation != v.Expected.Generation {
			t.Errorf("%s: another diff or generation", v.Name)
		}
		if sum(readMemory(t, h, files)) != v.Expected.MemorySha {
			t.Errorf("%s: another memory", v.Name)
		}
		v.compareHeader(t, h)
	}
}

// compareHeader compares records; a merge has a random build id.
func (v *vector) compareHeader(t *testing.T, h *Header) {
	t.Helper()
	data, err := hex.DecodeString(v.Expected.Header)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Deserialize(data)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Serialize(want.Metadata, want.Mapping); err != nil || string(again) != string(data) {
		t.Errorf("%s: not the same bytes after reading and writing", v.Name)
	}
	if len(want.Mapping) != len(h.Mapping) {
		t.Fatalf("%s: %d records, want %d", v.Name, len(h.Mapping), len(want.Mapping))
	}
	for i := range want.Mapping {
		x, y := *h.Mapping[i], *want.Mapping[i]
		if (x.BuildID == uuid.Nil) != (y.BuildID == uuid.Nil) || x.Offset != y.Offset || x.Length != y.Length || (y.BuildID != uuid.Nil && x.BuildStorageOffset != y.BuildStorageOffset) {
			t.Errorf("%s: record %d is %+v, want %+v", v.Name, i, x, y)
		}
	}
}
