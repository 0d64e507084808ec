package schema

// Shape says what the JSON values of an attribute look like, as far as that can be told without the state. It describes
// the spelling that clients should use; values are read more kindly than that ("true" for true, "5" for 5), as in Neutron.
type Shape struct {
	Type string // string, boolean, integer, array, object; empty: anything
	// Format is what a string is: uuid, ip, cidr, mac, hostname, date-time; empty: any text.
	Format string
	// Nullable says that null stands for nothing, in requests and in answers.
	Nullable bool
	Enum     []string // the values that there are, as texts; none: any
	// Least and Most bound the value of an integer, the characters of a string, and the items of an array; both 0: there
	// is no bound.
	Least, Most int
	Items       *Shape   // of an array; nil: anything
	Members     []Member // of an object, in order; none: any
	// ShownType is the type of the value in answers where that is another.
	ShownType string
}

// Member is a member of an object.
type Member struct {
	Name string
	Shape
	Required bool
}

// must is a member that has to be given, may one that may be left out.
func must(name string, s Shape) Member { return Member{Name: name, Shape: s, Required: true} }
func may(name string, s Shape) Member  { return Member{Name: name, Shape: s} }

// orNull is the shape that may be null, too.
func (s Shape) orNull() Shape {
	s.Nullable = true
	return s
}

// The shapes of values that are only shown.
var (
	aText    = Shape{Type: "string"}
	aNumber  = Shape{Type: "integer"}
	aBoolean = Shape{Type: "boolean"}
)

func anArray(items Shape) Shape           { return Shape{Type: "array", Items: &items} }
func anObject(members ...Member) Shape    { return Shape{Type: "object", Members: members} }
func (s Shape) formatted(as string) Shape { s.Format = as; return s }
