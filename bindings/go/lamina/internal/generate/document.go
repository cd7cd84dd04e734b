package generate

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// ordered is a JSON object whose members keep their order, so that the generated source has the
// order of the document.
type ordered[T any] struct {
	names  []string
	values map[string]T
}

func (o *ordered[T]) UnmarshalJSON(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	first, err := decoder.Token()
	if err != nil {
		return err
	}
	if first != json.Delim('{') {
		return fmt.Errorf("an object is expected, not %v", first)
	}
	o.values = map[string]T{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		name, ok := token.(string)
		if !ok {
			return fmt.Errorf("the name of a member is expected, not %v", token)
		}
		var value T
		if err := decoder.Decode(&value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if _, twice := o.values[name]; twice {
			return fmt.Errorf("member '%s' is there twice", name)
		}
		o.names = append(o.names, name)
		o.values[name] = value
	}
	return nil
}

// schema has the part of an OpenAPI schema that laminad's document uses.
type schema struct {
	Ref         string           `json:"$ref"`
	AllOf       []schema         `json:"allOf"`
	Type        string           `json:"type"`
	Format      string           `json:"format"`
	Description string           `json:"description"`
	Nullable    bool             `json:"nullable"`
	Enum        []string         `json:"enum"`
	Default     any              `json:"default"`
	Minimum     *float64         `json:"minimum"`
	Required    []string         `json:"required"`
	Properties  *ordered[schema] `json:"properties"`
	Items       *schema          `json:"items"`
	// Additional is false, or the schema of a map's values.
	Additional json.RawMessage `json:"additionalProperties"`
}

func (s schema) requires(name string) bool {
	for _, one := range s.Required {
		if one == name {
			return true
		}
	}
	return false
}

type content map[string]struct {
	Schema schema `json:"schema"`
}

type parameter struct {
	Name        string `json:"name"`
	In          string `json:"in"`
	Description string `json:"description"`
	Schema      schema `json:"schema"`
}

type operation struct {
	ID          string      `json:"operationId"`
	Summary     string      `json:"summary"`
	Description string      `json:"description"`
	Parameters  []parameter `json:"parameters"`
	RequestBody *struct {
		Content content `json:"content"`
	} `json:"requestBody"`
	Responses map[string]struct {
		Content content `json:"content"`
	} `json:"responses"`
}

type document struct {
	Paths      ordered[ordered[json.RawMessage]] `json:"paths"`
	Components struct {
		Schemas ordered[schema] `json:"schemas"`
	} `json:"components"`
}
