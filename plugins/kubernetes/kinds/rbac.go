package kinds

// roleBinding reads RoleBindings and ClusterRoleBindings. Users and groups are
// not objects of the cluster, and get keys as if they were.
func (r *reader) roleBinding() error {
	var b struct {
		Role struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
		} `json:"roleRef"`
		Subjects []struct {
			Kind      string `json:"kind"`
			Namespace string `json:"namespace"`
			Name      string `json:"name"`
		} `json:"subjects"`
	}
	if err := r.object.Decode(&b); err != nil {
		return err
	}
	r.relate(grants, groupRBAC, b.Role.Kind, b.Role.Name)
	for _, s := range b.Subjects {
		if s.Kind == "ServiceAccount" {
			r.relateIn(or(s.Namespace, r.object.Meta.Namespace), grantedTo, groupCore, s.Kind, s.Name)
		} else {
			r.relateIn("", grantedTo, groupRBAC, s.Kind, s.Name)
		}
	}
	return nil
}

func (r *reader) serviceAccount() error {
	var a struct {
		Secrets          []reference `json:"secrets"`
		ImagePullSecrets []reference `json:"imagePullSecrets"`
	}
	if err := r.object.Decode(&a); err != nil {
		return err
	}
	for _, secrets := range [2][]reference{a.Secrets, a.ImagePullSecrets} {
		for _, s := range secrets {
			r.relate(uses, groupCore, "Secret", s.Name)
		}
	}
	return nil
}
