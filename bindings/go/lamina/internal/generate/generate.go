// Package generate writes the Go types and methods of package lamina from laminad's OpenAPI
// document. It knows the part of OpenAPI that this document uses, and refuses everything else, so a
// new construct in the document is an error here and not a wrong type.
package generate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/format"
	"strings"
)

// goNames are the schemas that have another name in Go. Schemas that have a request beside them
// become NAMEReport without being listed.
var goNames = map[string]string{
	"Error":        "errorBody",
	"Error.error":  "errorFields",
	"Event":        "EventHead",
	"Version":      "VersionInfo",
	"Listing.tree": "TreeNode",
}

// enumNames are the enums whose type is not named after its field.
var enumNames = map[string]string{
	"errorFields.kind": "Kind", "ItemError.kind": "Kind", "EventHead.event": "EventKind",
}

// words are parts of names that are not written with one capital letter.
var words = map[string]string{
	"api": "API", "id": "ID", "ids": "IDs", "pid": "PID", "vm": "VM", "vms": "VMs",
	"vmstate": "VMState", "openapi": "OpenAPI", "ms": "Ms",
}

type enum struct {
	name   string
	values []string
}

type generator struct {
	document document
	types    bytes.Buffer
	methods  bytes.Buffer
	enums    []*enum
	uses     map[string]string // by schema: "the reply of Pause"
}

// Source returns the Go source for an OpenAPI document.
func Source(text []byte) ([]byte, error) {
	var g generator
	if err := json.Unmarshal(text, &g.document); err != nil {
		return nil, fmt.Errorf("the OpenAPI document: %w", err)
	}
	g.uses = map[string]string{"Error": "the body of a failure"}
	for _, path := range g.document.Paths.names {
		if err := g.path(path); err != nil {
			return nil, fmt.Errorf("path '%s': %w", path, err)
		}
	}
	schemas := g.document.Components.Schemas
	for _, name := range schemas.names {
		if err := g.object(g.typeName(name), name, schemas.values[name]); err != nil {
			return nil, fmt.Errorf("schema '%s': %w", name, err)
		}
	}
	var source bytes.Buffer
	source.WriteString("// Code generated from docs/openapi.json; DO NOT EDIT. 'go generate ./lamina' updates it.\n\n" +
		"package lamina\n\nimport (\n\"context\"\n\"encoding/json\"\n\"net/http\"\n\"net/url\"\n\"strconv\"\n\"time\"\n)\n\n")
	for _, one := range g.enums {
		writeEnum(&source, one)
	}
	source.Write(g.types.Bytes())
	source.Write(g.methods.Bytes())
	formatted, err := format.Source(source.Bytes())
	if err != nil {
		return nil, fmt.Errorf("the generated source is not Go: %w\n%s", err, source.Bytes())
	}
	return formatted, nil
}

func (g *generator) typeName(schemaName string) string {
	if name, ok := goNames[schemaName]; ok {
		return name
	}
	if _, ok := g.document.Components.Schemas.values[schemaName+"Request"]; ok {
		return schemaName + "Report"
	}
	return schemaName
}

// object writes a struct; owner is the schema's name, from which its inner types are named.
func (g *generator) object(goType, owner string, s schema) error {
	if s.Type != "object" || s.Properties == nil {
		return fmt.Errorf("type '%s' is not an object with properties", s.Type)
	}
	var fields bytes.Buffer
	for _, name := range s.Properties.names {
		field := s.Properties.values[name]
		fieldType, err := g.fieldType(goType, owner, name, field)
		if err != nil {
			return fmt.Errorf("property '%s': %w", name, err)
		}
		tag := name
		if !s.requires(name) {
			fieldType = optional(fieldType, owner, field)
			tag += ",omitempty"
		}
		comment := field.Description
		if field.Nullable && fieldType == "string" {
			comment = joinSentences(comment, "Empty: null")
		}
		if field.Default != nil && field.Default != false {
			comment = joinSentences(comment, fmt.Sprintf("Default: %v", field.Default))
		}
		writeComment(&fields, comment)
		fmt.Fprintf(&fields, "%s %s `json:\"%s\"`\n", camel(name), fieldType, tag)
	}
	writeComment(&g.types, g.typeComment(goType, owner, s.Description))
	fmt.Fprintf(&g.types, "type %s struct {\n%s}\n\n", goType, fields.Bytes())
	return nil
}

// typeComment says where a type is used: the document describes few of its schemas.
func (g *generator) typeComment(goType, owner, description string) string {
	switch {
	case description != "":
		return goType + ": " + lowerFirst(description) + "."
	case g.uses[owner] != "":
		return goType + " is " + g.uses[owner] + "."
	case strings.Contains(owner, "."):
		return fmt.Sprintf("%s is a part of %s.", goType, g.typeName(owner[:strings.Index(owner, ".")]))
	case strings.HasSuffix(owner, "Request"):
		return goType + " is a part of a request."
	default:
		return goType + " is a part of a report."
	}
}

// optional returns the type of a field that may be absent. A zero value is not sent, so where it
// would mean something else than "absent", the field is a pointer.
func optional(fieldType, owner string, field schema) string {
	if !strings.HasSuffix(owner, "Request") || strings.HasPrefix(fieldType, "*") {
		return fieldType // in a report, zero values are as good
	}
	means := false
	switch value := field.Default.(type) {
	case nil:
	case bool:
		means = value
	case float64:
		means = value != 0 && (field.Minimum == nil || *field.Minimum <= 0)
	case string:
		means = value != "" && len(field.Enum) == 0
	default:
		means = true
	}
	if means {
		return "*" + fieldType
	}
	return fieldType
}

func (g *generator) fieldType(goType, owner, name string, s schema) (string, error) {
	if len(s.AllOf) == 1 {
		s.Ref = s.AllOf[0].Ref
	}
	if s.Ref != "" {
		target, err := g.reference(s.Ref)
		if s.Nullable {
			target = "*" + target
		}
		return target, err
	}
	plain := ""
	switch {
	case s.Type == "array" && s.Items != nil:
		if s.Items.Type == "object" {
			name = strings.TrimSuffix(name, "s")
		}
		inner, err := g.fieldType(goType, owner, name, *s.Items)
		return "[]" + inner, err
	case s.Type == "object" && len(s.Additional) > 0 && s.Additional[0] == '{':
		var value schema
		if err := json.Unmarshal(s.Additional, &value); err != nil {
			return "", err
		}
		inner, err := g.fieldType(goType, owner, name, value)
		return "map[string]" + inner, err
	case s.Type == "object" && s.Properties != nil:
		key := owner + "." + name
		inner, ok := goNames[key]
		if !ok {
			inner = strings.ReplaceAll(owner, ".", "_")
			inner = camel(inner) + camel(name)
		}
		if err := g.object(inner, key, s); err != nil {
			return "", err
		}
		plain = inner
	case s.Type == "string" && len(s.Enum) > 1:
		return g.enumType(goType, name, s), nil
	case s.Type == "string" && s.Format == "date-time" && !s.Nullable:
		return "time.Time", nil
	case s.Type == "string":
		return "string", nil // null becomes an empty text, which has no other meaning
	case s.Type == "boolean":
		plain = "bool"
	case s.Type == "integer" && s.Format == "int64":
		plain = "int64"
	case s.Type == "integer" && s.Format == "":
		plain = "int"
	case s.Type == "number":
		plain = "float64"
	default:
		return "", fmt.Errorf("unknown type '%s' (format '%s')", s.Type, s.Format)
	}
	if s.Nullable {
		plain = "*" + plain
	}
	return plain, nil
}

func (g *generator) reference(ref string) (string, error) {
	name := schemaOf(ref)
	if _, ok := g.document.Components.Schemas.values[name]; !ok {
		return "", fmt.Errorf("reference '%s' leads nowhere", ref)
	}
	return g.typeName(name), nil
}

func schemaOf(ref string) string { return strings.TrimPrefix(ref, "#/components/schemas/") }

// enumType returns the type of an enum. A request and its report share one, with the values of both.
func (g *generator) enumType(goType, name string, s schema) string {
	typeName := strings.TrimSuffix(strings.TrimSuffix(goType, "Request"), "Report") + camel(name)
	if given, ok := enumNames[goType+"."+name]; ok {
		typeName = given
	}
	var found *enum
	for _, one := range g.enums {
		if one.name == typeName {
			found = one
		}
	}
	if found == nil {
		found = &enum{name: typeName}
		g.enums = append(g.enums, found)
	}
	for _, value := range s.Enum {
		if !contains(found.values, value) {
			found.values = append(found.values, value)
		}
	}
	return typeName
}

func writeEnum(out *bytes.Buffer, one *enum) {
	comment := one.name + " is one of the words below. A newer daemon may have others."
	if one.name == "Kind" {
		comment = "Kind says what kind of failure an error is. errors.Is(err, KindBusy) tells whether an error " +
			"is of a kind. A newer daemon may have others."
	}
	writeComment(out, comment)
	fmt.Fprintf(out, "type %s string\n\nconst (\n", one.name)
	for _, value := range one.values {
		fmt.Fprintf(out, "%s%s %s = %q\n", one.name, camel(strings.ReplaceAll(value, "-", "_")), one.name, value)
	}
	out.WriteString(")\n\n")
}

func contains(texts []string, text string) bool {
	for _, one := range texts {
		if one == text {
			return true
		}
	}
	return false
}

func camel(name string) string {
	var text strings.Builder
	for _, part := range strings.Split(name, "_") {
		if word, ok := words[part]; ok {
			text.WriteString(word)
		} else if part != "" {
			text.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return text.String()
}

func lowerFirst(text string) string { return strings.ToLower(text[:1]) + text[1:] }

func joinSentences(first, second string) string {
	if first == "" {
		return second
	}
	return strings.TrimSuffix(first, ".") + ". " + second
}

// writeComment writes a comment in lines of at most 100 columns.
func writeComment(out *bytes.Buffer, text string) {
	const columns = 96
	for _, paragraph := range strings.Split(text, "\n") {
		if text == "" {
			return
		}
		line := "//"
		for _, word := range strings.Fields(paragraph) {
			if len(line)+1+len(word) > columns {
				fmt.Fprintln(out, line)
				line = "//"
			}
			line += " " + word
		}
		fmt.Fprintln(out, line)
	}
}
