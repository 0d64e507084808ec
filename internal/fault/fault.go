// Package fault holds the errors that the API answers with: a kind, the type name that clients branch on, and one
// sentence. The rules return them; package rest turns the kind into a status code, in one place.
package fault

import (
	"errors"
	"fmt"
)

// Kind classifies a fault.
type Kind int

// The kinds, with the status code that the API answers.
const (
	Invalid       Kind = iota // 400
	Unauthorized              // 401
	Forbidden                 // 403
	NotFound                  // 404
	Conflict                  // 409
	OverQuota                 // 409
	TooLarge                  // 413
	Precondition              // 412
	Unavailable               // 503
	Unimplemented             // 501
)

// Error is a fault of the API. Type is the name of the error in the networking API (for instance NetworkInUse).
type Error struct {
	Kind    Kind
	Type    string
	Message string
	Detail  string
}

func (e *Error) Error() string { return e.Message }

// New makes a fault of the kind; format and args make its message.
func New(kind Kind, typ, format string, args ...any) *Error {
	return &Error{Kind: kind, Type: typ, Message: fmt.Sprintf(format, args...)}
}

// Input is a 400 that blames the value of an attribute.
func Input(attribute, format string, args ...any) *Error {
	return New(Invalid, "HTTPBadRequest", "Invalid input for %s. Reason: %s.", attribute, fmt.Sprintf(format, args...))
}

// Operation is a 400 that says why the values of a request do not fit together or do not fit the state.
func Operation(format string, args ...any) *Error {
	return New(Invalid, "InvalidInput", "Invalid input for operation: %s.", fmt.Sprintf(format, args...))
}

// Missing is the 404 of a resource. Resource is its CamelCase name, for instance Network.
func Missing(resource, id string) *Error {
	return New(NotFound, resource+"NotFound", "%s %s could not be found.", resource, id)
}

// As returns the fault in err's chain, or nil.
func As(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// IsNotFound says whether err is a NotFound fault.
func IsNotFound(err error) bool { e := As(err); return e != nil && e.Kind == NotFound }
