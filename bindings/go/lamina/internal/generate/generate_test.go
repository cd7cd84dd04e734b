package generate

import (
	"strings"
	"testing"
)

// withField returns a document with one request that has one optional field.
func withField(schema string) []byte {
	return []byte(`{"paths": {}, "components": {"schemas": {"PauseRequest": {"type": "object", "properties": {"f": ` +
		schema + `}}}}}`)
}

func TestOptionalFieldIsAPointerWhereZeroMeansSomething(t *testing.T) {
	for schema, field := range map[string]string{
		`{"type": "boolean", "default": false}`:                           "F bool",
		`{"type": "boolean", "default": true}`:                            "F *bool",
		`{"type": "integer", "minimum": 1, "default": 30}`:                "F int",
		`{"type": "integer", "minimum": 0, "default": 5}`:                 "F *int",
		`{"type": "number", "default": 0.5}`:                              "F *float64",
		`{"type": "string"}`:                                              "F string",
		`{"type": "string", "default": "x"}`:                              "F *string",
		`{"type": "string", "enum": ["a", "b"], "default": "a"}`:          "F PauseF",
		`{"type": "array", "items": {"type": "string"}}`:                  "F []string",
		`{"type": "object", "additionalProperties": {"type": "boolean"}}`: "F map[string]bool",
	} {
		source, err := Source(withField(schema))
		// gofmt aligns fields.
		if text := strings.Join(strings.Fields(string(source)), " "); err != nil || !strings.Contains(text, field+" `json:\"f,omitempty\"`") {
			t.Errorf("%s: %v\n%s", schema, err, source)
		}
	}
}

// What the generator does not know it refuses, instead of writing something wrong.
func TestUnknownConstructIsRefused(t *testing.T) {
	for schema, message := range map[string]string{
		`{"type": "integer", "format": "int128"}`:              "unknown type 'integer'",
		`{"type": "array"}`:                                    "unknown type 'array'",
		`{"type": "object"}`:                                   "unknown type 'object'",
		`{"$ref": "#/components/schemas/Nothing"}`:             "leads nowhere",
		`{"oneOf": [{"type": "string"}, {"type": "integer"}]}`: "unknown type ''",
	} {
		if source, err := Source(withField(schema)); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: %v\n%s", schema, err, source)
		}
	}
	for _, path := range []string{
		`{"/a": {"put": {"operationId": "a"}}}`,
		`{"/a": {"get": {}}}`,
		`{"/a/{b}": {"get": {"operationId": "a", "responses": {"200": {"content": {"text/plain": {}}}}}}}`,
		`{"/a": {"get": {"operationId": "a", "responses": {"200": {"content": {"image/png": {}}}}}}}`,
	} {
		if source, err := Source([]byte(`{"paths": ` + path + `, "components": {"schemas": {}}}`)); err == nil {
			t.Errorf("%s: %s", path, source)
		}
	}
	for _, text := range []string{"", "[]", `{"paths": 1}`} {
		if _, err := Source([]byte(text)); err == nil {
			t.Errorf("%q is a document", text)
		}
	}
}

func TestParametersOfAPathAndAQueryBecomeArguments(t *testing.T) {
	source, err := Source([]byte(`{"paths": {"/a/{b}/{c}": {
	  "parameters": [{"name": "b", "in": "path"}, {"name": "c", "in": "path"}],
	  "get": {"operationId": "readSome", "summary": "Reads", "responses": {"200": {"content": {"text/plain": {}}}},
	    "parameters": [{"name": "how_many", "in": "query", "schema": {"type": "integer"}}, {"name": "of", "in": "query", "schema": {"type": "string"}}]}}},
	  "components": {"schemas": {}}}`))
	if want := "ReadSome(ctx context.Context, b string, c string, params ReadSomeParams) (string, error)"; err != nil || !strings.Contains(string(source), want) {
		t.Errorf("%v\n%s", err, source)
	}
}
