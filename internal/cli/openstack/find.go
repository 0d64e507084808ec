package openstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

// find returns the object that has the name or the id. parent is the id of the object that has it, for sub-collections.
func (s *session) find(ctx context.Context, k *kind, parent, ref string) (object, error) {
	path := k.collection(parent)
	if ref == "" {
		return nil, fmt.Errorf("a %s must be named", k.noun())
	}
	if _, err := uuid.Parse(ref); err == nil || k.names == "" {
		var answer map[string]object
		err := s.do(ctx, http.MethodGet, path+"/"+url.PathEscape(ref), nil, nil, &answer)
		if err == nil {
			return answer[k.d.Name], nil
		}
		var failed *apiError
		if !errors.As(err, &failed) || failed.status != http.StatusNotFound {
			return nil, err
		}
		if k.names == "" {
			return nil, k.missing(ref)
		}
	}
	var found []object
	if err := s.list(ctx, k.d, path, url.Values{k.names: {ref}}, &found); err != nil {
		return nil, err
	}
	switch len(found) {
	case 0:
		return nil, k.missing(ref)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%d %s are called %q: say which by its id", len(found), plural(k.noun()), ref)
}

func (k *kind) missing(ref string) error { return fmt.Errorf("there is no %s %q", k.noun(), ref) }

// findProject is the id of a project. Those who may not ask the identity service for others have to give an id.
func (s *session) findProject(ctx context.Context, ref string) (string, error) {
	if ref == s.project.ID || ref == s.project.Name || s.identity == "" {
		return cmp.Or(map[bool]string{true: s.project.ID}[ref == s.project.Name], ref), nil
	}
	var one struct {
		Project struct{ ID string } `json:"project"`
	}
	if err := s.get(ctx, s.identity+"/projects/"+url.PathEscape(ref), nil, &one); err == nil {
		return one.Project.ID, nil
	}
	var many struct {
		Projects []struct{ ID string } `json:"projects"`
	}
	err := s.get(ctx, s.identity+"/projects", url.Values{"name": {ref}}, &many)
	var failed *apiError
	switch {
	case errors.As(err, &failed) && failed.status == http.StatusForbidden:
		return ref, nil
	case err != nil:
		return "", err
	case len(many.Projects) == 1:
		return many.Projects[0].ID, nil
	case len(many.Projects) > 1:
		return "", fmt.Errorf("%d projects are called %q: say which by its id", len(many.Projects), ref)
	}
	return "", fmt.Errorf("there is no project %q", ref)
}

// most is how many names are offered for completion.
const most = 500

// completeNames offers the names of the objects of a kind, for the first argument that is one of them.
func (b *builder) completeNames(k *kind) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		const noFiles = cobra.ShellCompDirectiveNoFileComp
		of, parent := k, ""
		api, err := login(cmd.Context(), cmd.Flags())
		if err != nil {
			return nil, noFiles
		}
		if k.parent != nil {
			if of = k.parent; len(args) > 0 {
				o, err := api.find(cmd.Context(), of, "", args[0])
				if err != nil {
					return nil, noFiles
				}
				of, parent = k, k.parent.id(o)
			}
		}
		names := cmp.Or(of.names, "id")
		var found []object
		query := url.Values{"fields": {names, "id"}, "limit": {fmt.Sprint(most)}}
		var answer map[string][]object
		if err := api.do(cmd.Context(), http.MethodGet, of.collection(parent), query, nil, &answer); err != nil {
			return nil, noFiles
		}
		found = answer[of.d.Plural]
		var words []string
		for _, o := range found {
			if name, _ := o[names].(string); name != "" {
				words = append(words, name)
			} else {
				words = append(words, of.id(o))
			}
		}
		return words, noFiles
	}
}
