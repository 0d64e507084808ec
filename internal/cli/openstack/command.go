package openstack

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Group is the group of the commands in the help of the program.
const Group = "openstack"

// call is one command that runs.
type call struct {
	ctx      context.Context
	cmd      *cobra.Command
	registry *registry
	kind     *kind
	verb     verb // of an action: create
	args     []string
	options  []option
	api      *session
	printer  printer

	object object     // what set and unset change
	body   object     // what is sent
	query  url.Values // of list
	from   string     // the path that list asks instead of the collection's
}

// Commands are the commands of the networking API, by their first words: network, subnet, port, … Where args are
// those of one command, only that is made: making all options of all commands takes longer than most commands run.
func Commands(args ...string) []*cobra.Command {
	if len(args) > 0 {
		if roots := commands(args); runs(roots, args) {
			return roots
		}
	}
	return commands(nil)
}

// commands are those that begin with the words of args; nil: all of them.
func commands(args []string) []*cobra.Command {
	b := &builder{registry: newRegistry(), words: map[string]*cobra.Command{}, args: args}
	for _, k := range b.registry.kinds {
		elsewhere := func(a action) bool { return a.under != "" && b.wants(a.under) }
		if b.wants(k.words) || slices.ContainsFunc(k.actions, elsewhere) {
			b.kind(k)
		}
	}
	for _, s := range specials() {
		b.special(s)
	}
	for _, top := range b.roots {
		summarise(top)
		top.GroupID = Group
		cloudFlags(top.PersistentFlags())
	}
	return b.roots
}

// runs says whether args are the words of one of the commands.
func runs(commands []*cobra.Command, args []string) bool {
	for _, word := range args {
		i := slices.IndexFunc(commands, func(c *cobra.Command) bool { return c.Name() == word })
		if i < 0 {
			return false
		}
		if !commands[i].HasSubCommands() {
			return true
		}
		commands = commands[i].Commands()
	}
	return false
}

// wants says whether args may mean a command that begins with the words.
func (b *builder) wants(words string) bool {
	i := 0
	for word := range strings.FieldsSeq(words) {
		if i == len(b.args) {
			return true
		}
		if b.args[i] != word {
			return false
		}
		i++
	}
	return true
}

// builder makes the tree of commands.
type builder struct {
	registry *registry
	args     []string
	roots    []*cobra.Command
	words    map[string]*cobra.Command // by all words up to it
}

// under is the command that holds what follows the words.
func (b *builder) under(words string) *cobra.Command {
	if cmd := b.words[words]; cmd != nil {
		return cmd
	}
	parent, last := "", words
	if i := strings.LastIndexByte(words, ' '); i >= 0 {
		parent, last = words[:i], words[i+1:]
	}
	cmd := &cobra.Command{Use: last}
	b.words[words] = cmd
	if parent == "" {
		b.roots = append(b.roots, cmd)
	} else {
		b.under(parent).AddCommand(cmd)
	}
	return cmd
}

// add puts a command below the words, the last of which are its own.
func (b *builder) add(under, words string, cmd *cobra.Command) *cobra.Command {
	if i := strings.LastIndexByte(words, ' '); i >= 0 {
		under, words = under+" "+words[:i], words[i+1:]
	}
	cmd.Use = strings.TrimSpace(words + " " + cmd.Use)
	b.under(under).AddCommand(cmd)
	return cmd
}

// verbNames are the words of the verbs, in the order of the help.
var verbNames = []struct {
	verb verb
	word string
	run  func(*call) error
	say  string // what it does with the kind
}{
	{create, "create", runCreate, "Make a %s"},
	{list, "list", runList, "List %s"},
	{show, "show", runShow, "Show a %s"},
	{set, "set", runSet, "Change a %s"},
	{unset, "unset", runUnset, "Take properties from a %s"},
	{remove, "delete", runDelete, "Delete %s"},
}

// kind adds the commands of a kind.
func (b *builder) kind(k *kind) {
	k.derive(b.registry)
	b.under(k.words).Short = sentence(k)
	for _, v := range verbNames {
		if k.verbs()&v.verb == 0 {
			continue
		}
		noun := k.noun()
		if v.verb&(list|remove) != 0 {
			noun = plural(noun)
		}
		cmd := b.add(k.words, v.word, &cobra.Command{Short: fmt.Sprintf(v.say, noun)})
		arguments, least, most := k.usage(v.verb)
		cmd.Use = strings.TrimSpace(cmd.Use + " " + arguments)
		switch {
		case most < 0:
			cmd.Args = cobra.MinimumNArgs(least)
		case most == least:
			cmd.Args = cobra.ExactArgs(least)
		default:
			cmd.Args = cobra.RangeArgs(least, most)
		}
		options := slices.DeleteFunc(slices.Clone(k.options), func(o option) bool { return o.verbs&v.verb == 0 })
		if k.d.Tagged {
			options = append(options, tagOptions(v.verb)...)
		}
		b.finish(cmd, k, v.verb, options, v.run)
	}
	for _, a := range k.actions {
		under := k.words
		if a.under != "" {
			under = a.under
		}
		cmd := b.add(under, a.words, &cobra.Command{Short: a.short, Use: placeholders(a.arguments)})
		cmd.Args = cobra.ExactArgs(len(a.arguments))
		options := slices.Clone(a.options)
		for i := range options {
			options[i].verbs |= create
		}
		b.finish(cmd, k, create, options, func(c *call) error {
			if err := c.read(); err != nil {
				return err
			}
			return a.do(c)
		})
	}
}

// sentence says what a kind is, in the help of its words.
func sentence(k *kind) string {
	text := strings.ToUpper(k.words[:1]) + plural(k.words)[1:]
	if k.d.Extension != "" {
		text += " (extension " + k.d.Extension + ")"
	}
	return text
}

// summarise says of words that are no kind what follows them.
func summarise(cmd *cobra.Command) {
	var next []string
	for _, below := range cmd.Commands() {
		summarise(below)
		next = append(next, below.Name())
	}
	if cmd.Short == "" {
		cmd.Short = "Further words: " + strings.Join(next, ", ")
	}
	if len(next) == 0 {
		cmd.Args = explained(cmd.Args)
		return
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return fmt.Errorf("there is no command %q: see %s --help", cmd.CommandPath()+" "+args[0], cmd.CommandPath())
	}
}

// explained says how a command is written, where its arguments are not as they are to be.
func explained(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return fmt.Errorf("the arguments are not those of: %s", cmd.UseLine())
		}
		return nil
	}
}

func plural(noun string) string {
	switch {
	case strings.HasSuffix(noun, "y"):
		return strings.TrimSuffix(noun, "y") + "ies"
	case strings.HasSuffix(noun, "s"):
		return noun
	}
	return noun + "s"
}

// usage are the arguments of a verb: as the usage shows them, and how many it takes; -1: any number.
func (k *kind) usage(v verb) (text string, least, most int) {
	var labels []string
	if k.parent != nil {
		labels = append(labels, lastWord(k.parent.words))
	}
	switch v {
	case create:
		for _, a := range k.arguments() {
			labels = append(labels, a.label)
		}
	case list:
		if k.optionalArgument != nil {
			return "[" + strings.ToUpper(k.optionalArgument.label) + "]", len(labels), len(labels) + 1
		}
	case remove:
		labels = append(labels, lastWord(k.words))
		return placeholders(labels) + "...", len(labels), -1
	default:
		labels = append(labels, lastWord(k.words))
	}
	return placeholders(labels), len(labels), len(labels)
}

func placeholders(labels []string) string { return strings.ToUpper(strings.Join(labels, " ")) }

func lastWord(words string) string { return words[strings.LastIndexByte(words, ' ')+1:] }

// finish gives a command its flags, its completion and what it does.
func (b *builder) finish(cmd *cobra.Command, k *kind, v verb, options []option, run func(*call) error) {
	addOptions(cmd, v, options)
	if v == list {
		cmd.Flags().Bool("long", false, "more columns")
	}
	printing := printerFlags(cmd.Flags(), v)
	if k != nil && v != create && v != list {
		cmd.ValidArgsFunction = b.completeNames(k)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		printer, err := printing(cmd.OutOrStdout())
		if err != nil {
			return err
		}
		api, err := login(cmd.Context(), cmd.Flags())
		if err != nil {
			return err
		}
		return run(&call{
			ctx: cmd.Context(), cmd: cmd, registry: b.registry, kind: k, verb: v, args: args, options: options,
			api: api, printer: printer,
			body: object{}, query: url.Values{},
		})
	}
}

// tagOptions are the options for tags, which are a sub-resource and no attribute that could be set.
func tagOptions(v verb) []option {
	switch v {
	case create, set:
		return []option{{name: "tag", off: "no-tag", many: true, verbs: v, help: "A word to find it by."}}
	case unset:
		return []option{
			{name: "tag", many: true, verbs: v, help: "The tag to take from it."},
			{name: "all-tag", sets: true, verbs: v, help: "All its tags."},
		}
	case list:
		return []option{
			{name: "tags", verbs: v, attribute: "tags", help: "Those that have all these tags, with commas between them."},
			{name: "any-tags", verbs: v, attribute: "tags-any", help: "Those that have one of these tags."},
			{name: "not-tags", verbs: v, attribute: "not-tags", help: "Those that do not have all these tags."},
			{name: "not-any-tags", verbs: v, attribute: "not-tags-any", help: "Those that have none of these tags."},
		}
	}
	return nil
}

// texts is the value of a flag that may be given several times. It does not split at commas, as pflag's own does.
type texts struct {
	values []string
	what   string // the placeholder in the help
}

func (t *texts) String() string     { return strings.Join(t.values, " ") }
func (t *texts) Type() string       { return t.what }
func (t *texts) Set(v string) error { t.values = append(t.values, v); return nil }

// addOptions adds the flags of the options.
func addOptions(cmd *cobra.Command, v verb, options []option) {
	flags := cmd.Flags()
	for i := range options {
		o := &options[i]
		if !o.takesValue(v) {
			flags.Bool(o.name, false, o.help)
		} else {
			flags.Var(&texts{what: o.placeholder()}, o.name, o.describe())
			offer := cobra.FixedCompletions(o.values, cobra.ShellCompDirectiveNoFileComp)
			_ = cmd.RegisterFlagCompletionFunc(o.name, offer)
		}
		if o.alias != "" {
			flags.Var(flags.Lookup(o.name).Value, o.alias, "the same as --"+o.name)
		}
		if o.off != "" && v&(writes|list) != 0 && (o.toggle() || v != list) {
			flags.Bool(o.off, false, o.opposite())
			if !o.many && o.typ != "object" {
				cmd.MarkFlagsMutuallyExclusive(o.name, o.off)
			}
		}
		if o.required&v != 0 {
			_ = cmd.MarkFlagRequired(o.name)
		}
	}
	exclusive(cmd, options)
}

// exclusive forbids two options that give the same attribute different values.
func exclusive(cmd *cobra.Command, options []option) {
	for i, a := range options {
		for _, b := range options[i+1:] {
			if a.attribute != "" && a.attribute == b.attribute && a.name != b.name {
				cmd.MarkFlagsMutuallyExclusive(a.name, b.name)
			}
		}
	}
}

// placeholder is what stands for the value in the help.
func (o *option) placeholder() string {
	switch {
	case o.pairs != nil:
		keys := make([]string, len(o.pairs))
		for i, p := range o.pairs {
			keys[i] = p.key + "="
		}
		return strings.Join(keys, ",")
	case o.find == findProject:
		return "PROJECT"
	case o.find != "":
		return strings.ToUpper(strings.ReplaceAll(o.find, "_", "-"))
	case o.typ == "integer":
		return "NUMBER"
	case o.typ == "object":
		return "KEY=VALUE"
	case strings.HasPrefix(o.help, "Whether"):
		return "WHETHER"
	}
	return "TEXT"
}

func (o *option) describe() string {
	text := o.help
	if len(o.values) > 0 && len(o.values) <= 8 {
		text += " One of " + strings.Join(o.values, ", ") + "."
	}
	if o.many {
		text += " May be repeated."
	}
	return text
}

func (o *option) opposite() string {
	switch {
	case o.toggle():
		return "the opposite of --" + o.name
	case o.many:
		return "none, or with --" + o.name + " none but those"
	}
	return "none"
}

// given says whether the command line has the option.
func (c *call) given(name string) bool {
	f := c.cmd.Flags().Lookup(name)
	return f != nil && f.Changed
}

// givenOption is given for an option that may have another name.
func (c *call) givenOption(o *option) bool {
	return c.given(o.name) || o.alias != "" && c.given(o.alias)
}

// values are the values of an option, in the order in which they were given.
func (c *call) values(name string) []string {
	if f := c.cmd.Flags().Lookup(name); f != nil {
		if t, ok := f.Value.(*texts); ok {
			return t.values
		}
	}
	return nil
}

// text is the value of an option that has one; the last one counts.
func (c *call) text(name string) string {
	values := c.values(name)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// flagText is the value of an ordinary flag.
func flagText(flags *pflag.FlagSet, name string) string {
	if f := flags.Lookup(name); f != nil {
		return f.Value.String()
	}
	return ""
}
