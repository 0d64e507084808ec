package openstack

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/neutrino-net/neutrino/internal/schema"
)

// The commands of what is no collection of objects: quotas, extensions, the topology that a project is given, and the
// subports of a trunk.

// special is a command that belongs to no kind.
type special struct {
	words, short string
	verb         verb // what its options and its output are like
	args         cobra.PositionalArgs
	options      []option
	run          func(*call) error
}

func (b *builder) special(s special) {
	if !b.wants(s.words) {
		return
	}
	i := strings.LastIndexByte(s.words, ' ')
	cmd := b.add(s.words[:i], s.words[i+1:], &cobra.Command{Short: s.short, Args: s.args})
	for i := range s.options {
		s.options[i].verbs = s.verb
	}
	b.finish(cmd, &kind{}, s.verb, s.options, s.run)
	cmd.ValidArgsFunction = cobra.NoFileCompletions
}

// quotaWords are the client's words for the limits: of options, and of answers.
var quotaWords = map[string]struct{ option, answer string }{
	"floatingip": {"floating-ips", "floating_ips"}, "security_group_rule": {"secgroup-rules", "security_group_rules"},
	"security_group": {"secgroups", "security_groups"}, "network": {"networks", "networks"},
	"subnet": {"subnets", "subnets"},
	"port":   {"ports", "ports"}, "router": {"routers", "routers"}, "rbac_policy": {"rbac-policies", "rbac_policies"},
	"subnetpool": {"subnetpools", "subnet_pools"},
}

// quotaNames are the limits that the declarations name, in order.
func quotaNames() []string {
	names := map[string]bool{}
	for _, d := range schema.All() {
		if d.Quota != "" {
			names[d.Quota] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// quotaOption is the option that sets a limit.
func quotaOption(name string) string {
	return cmp.Or(quotaWords[name].option, strings.ReplaceAll(name, "_", "-")+"s")
}

// onlyNetwork is an option that says what is the case anyway.
func onlyNetwork() option {
	return option{name: "network", sets: true, help: "Taken for granted: this is about networking only."}
}

// specials are all commands that belong to no kind.
func specials() []special {
	owner := option{name: "project", find: findProject, help: "The project; default: that of the login."}
	return []special{
		{
			words: "quota show", verb: show, args: cobra.MaximumNArgs(1), run: showQuota, short: "Show the limits of a project",
			options: []option{{name: "default", sets: true, help: "Those that projects have by default."}, onlyNetwork()},
		},
		{
			words: "quota list", verb: list, args: cobra.NoArgs, run: listQuotas,
			short: "List the projects that have limits of their own",
			options: []option{
				onlyNetwork(), {name: "project", find: findProject, help: "The limits of this project only."},
				{name: "detail", sets: true, help: "The use of each limit."},
			},
		},
		{
			words: "quota set", verb: set, args: cobra.ExactArgs(1), run: setQuota, options: quotaOptions(),
			short: "Change the limits of a project",
		},
		{
			words: "quota delete", verb: remove, args: cobra.ExactArgs(1), run: deleteQuota, options: []option{onlyNetwork()},
			short: "Give a project the default limits",
		},
		{
			words: "extension list", verb: list, args: cobra.NoArgs, run: listExtensions, options: []option{onlyNetwork()},
			short: "List the extensions of the API",
		},
		{
			words: "extension show", verb: show, args: cobra.ExactArgs(1), run: showExtension,
			short: "Show an extension of the API",
		},
		{
			words: "network auto allocated topology create", verb: create, args: cobra.NoArgs, run: createTopology,
			short: "Give a project its first network, or show it",
			options: []option{
				owner, {name: "check-resources", sets: true, help: "Only say whether it could be made."},
				{name: "or-show", sets: true, help: "Taken for granted."},
			},
		},
		{
			words: "network auto allocated topology delete", verb: remove, args: cobra.NoArgs, run: deleteTopology,
			short: "Take that network from a project", options: []option{owner},
		},
		{
			words: "network subport list", verb: list, args: cobra.NoArgs, run: listSubports,
			short:   "List the subports of a trunk",
			options: []option{{name: "trunk", find: "trunk", required: list, help: "The trunk that has them."}},
		},
	}
}

// quotaOptions are those that set limits.
func quotaOptions() []option {
	options := []option{
		{name: "force", sets: true, help: "Also to less than what is used (default)."},
		{name: "check-limit", sets: true, help: "Not to less than what is used."},
	}
	for _, name := range quotaNames() {
		options = append(options, option{
			name: quotaOption(name), attribute: name, typ: "integer", help: "How many " + name + "s; -1: any number.",
		})
	}
	return options
}

func setQuota(c *call) error {
	project, err := c.api.findProject(c.ctx, c.args[0])
	if err != nil {
		return err
	}
	if err := c.read(); err != nil {
		return err
	}
	if c.given("check-limit") {
		c.body["check_limit"] = true
	}
	return c.put("/quotas/"+project, object{"quota": c.body})
}

func deleteQuota(c *call) error {
	project, err := c.api.findProject(c.ctx, c.args[0])
	if err != nil {
		return err
	}
	return c.api.do(c.ctx, http.MethodDelete, "/quotas/"+project, nil, nil, nil)
}

// quotaOf fetches limits.
func (c *call) quotaOf(project, more string) (object, error) {
	var answer map[string]object
	err := c.api.do(c.ctx, http.MethodGet, "/quotas/"+project+more, nil, nil, &answer)
	return answer["quota"], err
}

func showQuota(c *call) error {
	project := c.api.project.ID
	if len(c.args) > 0 {
		var err error
		if project, err = c.api.findProject(c.ctx, c.args[0]); err != nil {
			return err
		}
	}
	if project == "" {
		return fmt.Errorf("whose limits? Name the project")
	}
	more := ""
	if c.given("default") {
		more = "/default"
	}
	quota, err := c.quotaOf(project, more)
	if err != nil {
		return err
	}
	shown := object{}
	for name, limit := range quota {
		shown[cmp.Or(quotaWords[name].option, name)] = limit
	}
	return c.printMap(shown)
}

// printMap shows an object with all that it has.
func (c *call) printMap(o object) error {
	var columns []column
	var row []any
	for _, name := range slices.Sorted(maps.Keys(o)) {
		columns, row = append(columns, column{name, name}), append(row, o[name])
	}
	return c.printer.one(columns, row)
}

func listQuotas(c *call) error {
	project, err := c.option("project")
	if err != nil {
		return err
	}
	if c.given("detail") {
		if project == nil {
			project = c.api.project.ID
		}
		details, err := c.quotaOf(fmt.Sprint(project), "/details")
		if err != nil {
			return err
		}
		columns := []column{{"Resource", ""}, {"In Use", ""}, {"Reserved", ""}, {"Limit", ""}}
		var rows [][]any
		for _, name := range slices.Sorted(maps.Keys(details)) {
			if d, ok := details[name].(object); ok {
				rows = append(rows, []any{cmp.Or(quotaWords[name].answer, name), d["used"], d["reserved"], d["limit"]})
			}
		}
		return c.printer.list(columns, rows)
	}
	var answer map[string][]object
	if err := c.api.do(c.ctx, http.MethodGet, "/quotas", nil, nil, &answer); err != nil {
		return err
	}
	columns := []column{
		{"Project ID", "project_id"}, {"Floating IPs", "floatingip"}, {"Networks", "network"}, {"Ports", "port"},
		{"RBAC Policies", "rbac_policy"}, {"Routers", "router"}, {"Security Groups", "security_group"},
		{"Security Group Rules", "security_group_rule"}, {"Subnets", "subnet"}, {"Subnet Pools", "subnetpool"},
	}
	quotas := slices.DeleteFunc(answer["quotas"], func(q object) bool {
		return project != nil && q["project_id"] != project
	})
	return c.printer.list(columns, c.kind.rows(quotas, columns))
}

func listExtensions(c *call) error {
	var answer map[string][]object
	if err := c.api.do(c.ctx, http.MethodGet, "/extensions", nil, nil, &answer); err != nil {
		return err
	}
	columns := []column{{"Name", "name"}, {"Alias", "alias"}, {"Description", "description"}}
	if c.given("long") {
		columns = append(columns, column{"Updated", "updated"}, column{"Links", "links"})
	}
	return c.printer.list(columns, c.kind.rows(answer["extensions"], columns))
}

func showExtension(c *call) error {
	var answer map[string]object
	if err := c.api.do(c.ctx, http.MethodGet, "/extensions/"+url.PathEscape(c.args[0]), nil, nil, &answer); err != nil {
		return err
	}
	return c.printMap(answer["extension"])
}

// topologyPath is the path of the topology of the project that is named, or of the caller's.
func topologyPath(c *call) (string, error) {
	project, err := c.option("project")
	if project == nil {
		project = cmp.Or(c.api.project.ID, "None") // the API's word for the caller's
	}
	return "/auto-allocated-topology/" + fmt.Sprint(project), err
}

func createTopology(c *call) error {
	path, err := topologyPath(c)
	if err != nil {
		return err
	}
	query := url.Values{}
	if c.given("check-resources") {
		query.Set("fields", "dry-run")
	}
	var answer map[string]object
	if err := c.api.do(c.ctx, http.MethodGet, path, query, nil, &answer); err != nil {
		return err
	}
	topology := answer["auto_allocated_topology"]
	delete(topology, oldOwner)
	if c.given("check-resources") {
		return c.printer.one([]column{{"dry_run", "id"}}, []any{topology["id"]})
	}
	return c.printMap(topology)
}

func deleteTopology(c *call) error {
	path, err := topologyPath(c)
	if err != nil {
		return err
	}
	return c.api.do(c.ctx, http.MethodDelete, path, nil, nil, nil)
}

func listSubports(c *call) error {
	id, err := c.option("trunk")
	if err != nil {
		return err
	}
	var answer map[string][]object
	if err := c.api.do(c.ctx, http.MethodGet, fmt.Sprintf("/trunks/%s/get_subports", id), nil, nil, &answer); err != nil {
		return err
	}
	columns := []column{
		{"Port", "port_id"}, {"Segmentation Type", "segmentation_type"}, {"Segmentation ID", "segmentation_id"},
	}
	return c.printer.list(columns, c.kind.rows(answer["sub_ports"], columns))
}
