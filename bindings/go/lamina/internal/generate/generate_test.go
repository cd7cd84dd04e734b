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

func TestOptionalFieldIsNotSentIfItsZeroValueIsTheDefault(t *testing.T) {
	for _, schema := range []string{
		`{"type": "boolean", "default": false}`, `{"type": "integer", "minimum": 1, "default": 30}`, `{"type": "string"}`,
	} {
		source, err := Source(withField(schema))
		if err != nil || !strings.Contains(string(source), `json:"f,omitempty"`) {
			t.Errorf("%s: %v\n%s", schema, err, source)
		}
	}
}

// What the generator would get wrong it refuses.
func TestUnknownConstructIsRefused(t *testing.T) {
	for schema, message := range map[string]string{
		`{"type": "boolean", "default": true}`:                          "default true",
		`{"type": "integer", "minimum": 0, "default": 5}`:               "0 is valid",
		`{"type": "string", "default": "x"}`:                            "optional text with a default",
		`{"type": "integer", "format": "int128"}`:                       "unknown type 'integer'",
		`{"type": "array"}`:                                             "unknown type 'array'",
		`{"type": "object", "nullable": true}`:                          "unknown type 'object'",
		`{"$ref": "#/components/schemas/Nothing"}`:                      "leads nowhere",
		`{"oneOf": [{"type": "string"}, {"type": "integer"}]}`:          "unknown type ''",
		`{"type": "array", "items": {"type": "string"}, "default": []}`: "unknown kind of default",
	} {
		source, err := Source(withField(schema))
		if err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: %v\n%s", schema, err, source)
		}
	}
	for _, text := range []string{"", "[]", `{"paths": {"/a": {"put": {"operationId": "a"}}}}`, `{"paths": {"/a/{b}": {"get": {"operationId": "a"}}}}`} {
		if _, err := Source([]byte(text)); err == nil {
			t.Errorf("%q is a document", text)
		}
	}
}
