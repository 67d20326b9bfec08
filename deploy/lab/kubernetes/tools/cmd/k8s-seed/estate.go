package main

import (
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiextv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var create = metav1.CreateOptions{FieldManager: "k8s-seed"}

type machine struct {
	kind    string
	cpu     int
	memGiB  int
	gpus    int
	arch    string
	percent int
}

var machines = []machine{
	{"m6i.2xlarge", 8, 32, 0, "amd64", 40},
	{"m7g.4xlarge", 16, 64, 0, "arm64", 20},
	{"c6i.4xlarge", 16, 32, 0, "amd64", 20},
	{"r6i.2xlarge", 8, 64, 0, "amd64", 15},
	{"g5.2xlarge", 8, 32, 1, "amd64", 5},
}

var teams = []string{"payments", "search", "checkout", "identity", "ledger", "catalog", "shipping", "media", "growth", "risk"}
var apps = []string{"api", "worker", "web", "gateway", "indexer", "notifier", "cache", "scheduler", "importer", "reporter"}

var (
	widgets   = schema.GroupVersionResource{Group: "lab.example.com", Version: "v1", Resource: "widgets"}
	databases = schema.GroupVersionResource{Group: "lab.example.com", Version: "v1", Resource: "databases"}
)

// customKind is a kind whose definition says nothing of its fields.
type customKind struct {
	group, version, plural, kind string
	scope                        apiextv1.ResourceScope
}

var customKinds = []customKind{
	{"lab.example.com", "v1", "widgets", "Widget", apiextv1.NamespaceScoped},
	{"lab.example.com", "v1", "databases", "Database", apiextv1.NamespaceScoped},
	{"lab.example.com", "v1", "tenants", "Tenant", apiextv1.ClusterScoped},
	{"gateway.networking.k8s.io", "v1", "gatewayclasses", "GatewayClass", apiextv1.ClusterScoped},
	{"gateway.networking.k8s.io", "v1", "gateways", "Gateway", apiextv1.NamespaceScoped},
	{"gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute", apiextv1.NamespaceScoped},
	{"snapshot.storage.k8s.io", "v1", "volumesnapshotclasses", "VolumeSnapshotClass", apiextv1.ClusterScoped},
	{"snapshot.storage.k8s.io", "v1", "volumesnapshotcontents", "VolumeSnapshotContent", apiextv1.ClusterScoped},
	{"snapshot.storage.k8s.io", "v1", "volumesnapshots", "VolumeSnapshot", apiextv1.NamespaceScoped},
	{"argoproj.io", "v1alpha1", "applications", "Application", apiextv1.NamespaceScoped},
	{"argoproj.io", "v1alpha1", "appprojects", "AppProject", apiextv1.NamespaceScoped},
	{"source.toolkit.fluxcd.io", "v1", "gitrepositories", "GitRepository", apiextv1.NamespaceScoped},
	{"helm.toolkit.fluxcd.io", "v2", "helmreleases", "HelmRelease", apiextv1.NamespaceScoped},
	{"cert-manager.io", "v1", "clusterissuers", "ClusterIssuer", apiextv1.ClusterScoped},
	{"cert-manager.io", "v1", "certificates", "Certificate", apiextv1.NamespaceScoped},
}

func (c customKind) definition() *apiextv1.CustomResourceDefinition {
	d := &apiextv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: c.plural + "." + c.group},
		Spec: apiextv1.CustomResourceDefinitionSpec{
			Group: c.group, Scope: c.scope,
			Names: apiextv1.CustomResourceDefinitionNames{
				Plural: c.plural, Singular: strings.ToLower(c.kind), Kind: c.kind, ListKind: c.kind + "List",
			},
			Versions: []apiextv1.CustomResourceDefinitionVersion{{
				Name: c.version, Served: true, Storage: true,
				Subresources: &apiextv1.CustomResourceSubresources{Status: &apiextv1.CustomResourceSubresourceStatus{}},
				Schema: &apiextv1.CustomResourceValidation{OpenAPIV3Schema: &apiextv1.JSONSchemaProps{
					Type: "object",
					Properties: map[string]apiextv1.JSONSchemaProps{
						"spec":   {Type: "object", XPreserveUnknownFields: ptr(true)},
						"status": {Type: "object", XPreserveUnknownFields: ptr(true)},
					},
				}},
			}},
		},
	}
	if c.kind == "VolumeSnapshotClass" { // its fields are at the top
		d.Spec.Versions[0].Schema.OpenAPIV3Schema.XPreserveUnknownFields = ptr(true)
	}
	if strings.HasSuffix(c.group, ".k8s.io") {
		d.Annotations = map[string]string{"api-approved.kubernetes.io": "unapproved, a stand-in for tests"}
	}
	return d
}

func ptr[T any](v T) *T { return &v }

func pick[T any](s *seeder, from []T) T { return from[s.rng.IntN(len(from))] }

// cluster makes what has no namespace, and waits until the custom resources
// are served.
func (s *seeder) cluster() {
	for _, c := range customKinds {
		s.do(func() error {
			_, err := s.ext.ApiextensionsV1().CustomResourceDefinitions().Create(s.ctx, c.definition(), create)
			return err
		})
	}

	s.do(func() error {
		_, err := s.kube.StorageV1().CSIDrivers().Create(s.ctx, &storagev1.CSIDriver{
			ObjectMeta: metav1.ObjectMeta{Name: "ebs.csi.aws.com"},
			// Nobody plays the attacher here.
			Spec: storagev1.CSIDriverSpec{AttachRequired: ptr(false)},
		}, create)
		return err
	})
	for name, mode := range map[string]storagev1.VolumeBindingMode{
		"gp3": storagev1.VolumeBindingWaitForFirstConsumer, "static": storagev1.VolumeBindingImmediate,
	} {
		provisioner := "ebs.csi.aws.com"
		if name == "static" {
			provisioner = "kubernetes.io/no-provisioner"
		}
		s.do(func() error {
			_, err := s.kube.StorageV1().StorageClasses().Create(s.ctx, &storagev1.StorageClass{
				ObjectMeta:        metav1.ObjectMeta{Name: name},
				Provisioner:       provisioner,
				VolumeBindingMode: &mode,
				Parameters:        map[string]string{"type": "gp3"},
			}, create)
			return err
		})
	}
	for name, value := range map[string]int32{"business-critical": 100000, "batch-low": 100} {
		s.do(func() error {
			_, err := s.kube.SchedulingV1().PriorityClasses().Create(s.ctx, &schedulingv1.PriorityClass{
				ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value,
			}, create)
			return err
		})
	}
	s.do(func() error {
		_, err := s.kube.NetworkingV1().IngressClasses().Create(s.ctx, &networkingv1.IngressClass{
			ObjectMeta: metav1.ObjectMeta{Name: "nginx"},
			Spec:       networkingv1.IngressClassSpec{Controller: "k8s.io/ingress-nginx"},
		}, create)
		return err
	})
	for i := range 10 {
		name := fmt.Sprintf("lab-viewer-%d", i)
		s.do(func() error {
			_, err := s.kube.RbacV1().ClusterRoles().Create(s.ctx, &rbacv1.ClusterRole{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods", "nodes"},
					Verbs: []string{"get", "list", "watch"}}},
			}, create)
			return err
		})
		s.do(func() error {
			_, err := s.kube.RbacV1().ClusterRoleBindings().Create(s.ctx, &rbacv1.ClusterRoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				RoleRef:    rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: name},
				Subjects:   []rbacv1.Subject{{Kind: "Group", APIGroup: "rbac.authorization.k8s.io", Name: fmt.Sprintf("group-%d", i)}},
			}, create)
			return err
		})
	}
	s.wg.Wait()

	for _, c := range customKinds {
		for s.ctx.Err() == nil {
			if _, err := s.dyn.Resource(schema.GroupVersionResource{Group: c.group, Version: c.version, Resource: c.plural}).List(s.ctx,
				metav1.ListOptions{Limit: 1}); err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

func (s *seeder) machineFor(i int) machine {
	at := (i * 37) % 100 // spreads the kinds evenly, the same way every time
	for _, m := range machines {
		if at -= m.percent; at < 0 {
			return m
		}
	}
	return machines[0]
}

// openstackNode returns the name and the server's UUID of the i-th node; those
// whose number divides by three are servers of OpenStack.
func openstackNode(i int) (name, id string) {
	return fmt.Sprintf("worker-%03d", i), uuid(fmt.Sprintf("node %d", i))
}

func (s *seeder) nodes() {
	for i := range s.opt.nodes {
		m := s.machineFor(i)
		zone := fmt.Sprintf("eu-west-1%c", 'a'+i%3)
		ip := fmt.Sprintf("10.0.%d.%d", i/250, i%250+4)
		name := "ip-" + strings.ReplaceAll(ip, ".", "-") + ".eu-west-1.compute.internal"
		capacityType := "on-demand"
		if i%4 == 0 {
			capacityType = "spot"
		}
		amount := func(cpuMilli, memMi int) corev1.ResourceList {
			l := corev1.ResourceList{
				corev1.ResourceCPU:              *resource.NewMilliQuantity(int64(cpuMilli), resource.DecimalSI),
				corev1.ResourceMemory:           *resource.NewQuantity(int64(memMi)<<20, resource.BinarySI),
				corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
				corev1.ResourcePods:             resource.MustParse("250"),
			}
			if m.gpus > 0 {
				l["nvidia.com/gpu"] = *resource.NewQuantity(int64(m.gpus), resource.DecimalSI)
			}
			return l
		}
		node := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{
				Name:        name,
				Annotations: map[string]string{"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
				Labels: map[string]string{
					"kubernetes.io/hostname":           name,
					"kubernetes.io/os":                 "linux",
					"kubernetes.io/arch":               m.arch,
					"node.kubernetes.io/instance-type": m.kind,
					"topology.kubernetes.io/region":    "eu-west-1",
					"topology.kubernetes.io/zone":      zone,
					"karpenter.sh/capacity-type":       capacityType,
					"eks.amazonaws.com/nodegroup":      strings.SplitN(m.kind, ".", 2)[0],
				},
			},
			Spec: corev1.NodeSpec{ProviderID: fmt.Sprintf("aws:///%s/i-%017x", zone, 0xabc000+i)},
			Status: corev1.NodeStatus{
				Capacity:    amount(m.cpu*1000, m.memGiB<<10),
				Allocatable: amount(m.cpu*1000-80, m.memGiB<<10-700),
				Addresses: []corev1.NodeAddress{
					{Type: corev1.NodeInternalIP, Address: ip}, {Type: corev1.NodeHostName, Address: name},
				},
				NodeInfo: corev1.NodeSystemInfo{
					Architecture: m.arch, OperatingSystem: "linux", OSImage: "Amazon Linux 2023",
					KernelVersion: "6.1.0", ContainerRuntimeVersion: "containerd://2.1.4",
					KubeletVersion: "v1.36.3", MachineID: fmt.Sprintf("ec2%029x", i), SystemUUID: fmt.Sprintf("ec2%029x", i),
					BootID: fmt.Sprintf("%032x", i),
				},
			},
		}
		if i%3 == 0 {
			// As the OpenStack cloud provider writes it; the server's UUID is what its
			// firmware says, too.
			name, id := openstackNode(i)
			node.Name = name
			node.Labels["kubernetes.io/hostname"] = name
			node.Labels["node.kubernetes.io/instance-type"] = fmt.Sprintf("m1.%dc%dg", m.cpu, m.memGiB)
			node.Labels["topology.kubernetes.io/region"] = "RegionOne"
			node.Labels["topology.kubernetes.io/zone"] = "nova"
			delete(node.Labels, "karpenter.sh/capacity-type")
			delete(node.Labels, "eks.amazonaws.com/nodegroup")
			node.Annotations["csi.volume.kubernetes.io/nodeid"] = fmt.Sprintf(`{"cinder.csi.openstack.org":%q}`, id)
			node.Spec.ProviderID = "openstack:///" + id
			node.Status.Addresses[1].Address = name
			node.Status.NodeInfo.OSImage = "Ubuntu 24.04.2 LTS"
			node.Status.NodeInfo.SystemUUID = id
			node.Status.NodeInfo.MachineID = strings.ReplaceAll(id, "-", "")
		}
		if s.opt.bare {
			node.Status.Conditions = []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
				LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
			}}
		}
		if m.gpus > 0 {
			node.Spec.Taints = []corev1.Taint{{Key: "nvidia.com/gpu", Value: "true", Effect: corev1.TaintEffectNoSchedule}}
		}
		s.do(func() error { _, err := s.kube.CoreV1().Nodes().Create(s.ctx, node, create); return err })
	}
}

// workloads creates everything with a namespace and returns how many pods
// shall end up running or finished.
func (s *seeder) workloads() int {
	o := s.opt
	want := 0
	cpuMilli := 0
	for i := range o.nodes {
		cpuMilli += s.machineFor(i).cpu * 1000
	}
	// What the average pod may ask for if all shall fit with room to spare.
	share := max(10, min(1000, cpuMilli*6/10/max(1, o.pods)))

	daemonsets := 0
	if !o.bare {
		daemonsets = min(3, o.pods/max(1, 4*o.nodes))
	}
	for i := range daemonsets {
		name := []string{"log-agent", "node-exporter", "cni"}[i]
		spec := s.podSpec(name, 10, false)
		spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		labels := labelsFor("platform", name, "kube-system")
		s.do(func() error {
			_, err := s.kube.AppsV1().DaemonSets("kube-system").Create(s.ctx, &appsv1.DaemonSet{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
				Spec: appsv1.DaemonSetSpec{
					Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app.kubernetes.io/name": name}},
					Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
				},
			}, create)
			return err
		})
		want += o.nodes
	}

	type home struct{ name, team, env string }
	homes := make([]home, o.namespaces)
	for i := range homes {
		team := teams[i%len(teams)]
		env := []string{"prod", "staging", "dev"}[i%3]
		ns := fmt.Sprintf("%s-%s-%02d", team, env, i)
		homes[i] = home{ns, team, env}
		s.do(func() error {
			_, err := s.kube.CoreV1().Namespaces().Create(s.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
				Name: ns, Labels: map[string]string{"team": team, "env": env, "cost-center": fmt.Sprintf("cc-%03d", i%7)},
			}}, create)
			return err
		})
	}
	s.wg.Wait()
	for i, h := range homes {
		s.namespaceFurniture(h.name, h.team)
		s.apply("namespace.yaml", place{NS: h.name, Team: h.team, Env: h.env, Index: i})
	}
	// Pods need their service accounts.
	s.wg.Wait()
	rest := o.pods - daemonsets*o.nodes
	for i, h := range homes {
		left := rest*(i+1)/len(homes) - rest*i/len(homes)
		if o.bare {
			want += s.barePods(h.name, h.team, left, share)
			continue
		}
		want += s.controllers(h.name, h.team, left, share, i)
	}
	return want
}

func labelsFor(team, name, ns string) map[string]string {
	return map[string]string{
		"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": ns, "app.kubernetes.io/managed-by": "k8s-seed",
		"team": team, "version": "1.4.2",
	}
}

func (s *seeder) podSpec(name string, shareMilli int, pvc bool) corev1.PodSpec {
	cpu := max(5, shareMilli*pick(s, []int{50, 75, 100, 150})/100)
	mem := cpu * pick(s, []int{1, 2, 3})
	main := corev1.Container{
		Name: name, Image: fmt.Sprintf("registry.example.com/%s:1.%d.%d", name, s.rng.IntN(9), s.rng.IntN(20)),
		Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
		Env: []corev1.EnvVar{
			{Name: "LOG_LEVEL", Value: "info"},
			{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
		},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{
				corev1.ResourceCPU:    *resource.NewMilliQuantity(int64(cpu), resource.DecimalSI),
				corev1.ResourceMemory: *resource.NewQuantity(int64(mem)<<20, resource.BinarySI),
			},
			Limits: corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(int64(2*mem)<<20, resource.BinarySI)},
		},
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready",
			Port: intstr.FromInt32(8080)}}},
	}
	spec := corev1.PodSpec{Containers: []corev1.Container{main}, TerminationGracePeriodSeconds: ptr(int64(1))}
	if s.rng.IntN(4) == 0 { // a sidecar
		spec.Containers = append(spec.Containers, corev1.Container{
			Name: "proxy", Image: "registry.example.com/proxy:2.1.0",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("5m"), corev1.ResourceMemory: resource.MustParse("16Mi"),
			}},
		})
	}
	if pvc {
		spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	}
	return spec
}

// workloadSpec is a podSpec that refers, mostly, to what namespaceFurniture makes.
func (s *seeder) workloadSpec(name string, shareMilli int, pvc bool) corev1.PodSpec {
	spec := s.podSpec(name, shareMilli, pvc)
	if s.rng.IntN(3) == 0 {
		return spec
	}
	n := s.rng.IntN(5)
	main := &spec.Containers[0]
	main.EnvFrom = []corev1.EnvFromSource{
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: fmt.Sprintf("config-%d", n)}}},
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: fmt.Sprintf("secret-%d", n)}}},
	}
	main.VolumeMounts = append(main.VolumeMounts, corev1.VolumeMount{Name: "tls", MountPath: "/tls", ReadOnly: true})
	spec.Volumes = []corev1.Volume{{Name: "tls",
		VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "wildcard-tls"}}}}
	spec.ServiceAccountName = fmt.Sprintf("sa-%d", n)
	spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry-login"}}
	return spec
}

func (s *seeder) namespaceFurniture(ns, team string) {
	core := s.kube.CoreV1()
	for i := range 5 {
		name := fmt.Sprintf("config-%d", i)
		s.do(func() error {
			_, err := core.ConfigMaps(ns).Create(s.ctx, &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": team}},
				Data:       map[string]string{"app.yaml": strings.Repeat("key: value\n", 100)},
			}, create)
			return err
		})
		s.do(func() error {
			_, err := core.Secrets(ns).Create(s.ctx, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("secret-%d", i)},
				StringData: map[string]string{"password": "not-a-real-secret", "user": team},
			}, create)
			return err
		})
		s.do(func() error {
			_, err := core.ServiceAccounts(ns).Create(s.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("sa-%d", i)}},
				create)
			return err
		})
		for _, c := range []struct {
			gvr  schema.GroupVersionResource
			kind string
		}{{widgets, "Widget"}, {databases, "Database"}} {
			s.do(func() error {
				_, err := s.dyn.Resource(c.gvr).Namespace(ns).Create(s.ctx, &unstructured.Unstructured{Object: map[string]any{
					"apiVersion": "lab.example.com/v1", "kind": c.kind,
					"metadata": map[string]any{"name": fmt.Sprintf("%s-%d", strings.ToLower(c.kind), i)},
					"spec":     map[string]any{"size": int64(i), "tier": "gold", "nested": map[string]any{"list": []any{"a", "b"}}},
				}}, create)
				return err
			})
		}
	}
	s.do(func() error {
		_, err := core.ResourceQuotas(ns).Create(s.ctx, &corev1.ResourceQuota{
			ObjectMeta: metav1.ObjectMeta{Name: "quota"},
			Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
				corev1.ResourcePods: resource.MustParse("20000"), "requests.cpu": resource.MustParse("100k"),
			}},
		}, create)
		return err
	})
	s.do(func() error {
		_, err := core.LimitRanges(ns).Create(s.ctx, &corev1.LimitRange{
			ObjectMeta: metav1.ObjectMeta{Name: "defaults"},
			Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
				Type: corev1.LimitTypeContainer, DefaultRequest: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")},
			}}},
		}, create)
		return err
	})
	s.do(func() error {
		_, err := s.kube.RbacV1().Roles(ns).Create(s.ctx, &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Name: "developer"},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"", "apps"}, Resources: []string{"*"}, Verbs: []string{"*"}}},
		}, create)
		return err
	})
	s.do(func() error {
		_, err := s.kube.RbacV1().RoleBindings(ns).Create(s.ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "developer"},
			RoleRef:    rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: "developer"},
			Subjects:   []rbacv1.Subject{{Kind: "Group", APIGroup: "rbac.authorization.k8s.io", Name: team}},
		}, create)
		return err
	})
	s.do(func() error {
		_, err := s.kube.NetworkingV1().NetworkPolicies(ns).Create(s.ctx, &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "same-namespace"},
			Spec: networkingv1.NetworkPolicySpec{
				PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
				Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}}},
			},
		}, create)
		return err
	})
}

// controllers fills a namespace through Deployments, StatefulSets, Jobs and
// CronJobs: about 10% of the pods are stateful and 3% belong to jobs.
func (s *seeder) controllers(ns, team string, left, share, index int) (want int) {
	template := func(name string, spec corev1.PodSpec, fate string) corev1.PodTemplateSpec {
		t := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labelsFor(team, name, ns)}, Spec: spec}
		if fate != "" {
			t.Annotations = map[string]string{"lab.k8s/fate": fate}
		}
		return t
	}
	selector := func(name string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": ns}}
	}
	service := func(name string, headless bool) {
		spec := corev1.ServiceSpec{Selector: selector(name).MatchLabels,
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}}}
		if headless {
			spec.ClusterIP = corev1.ClusterIPNone
		}
		s.do(func() error {
			_, err := s.kube.CoreV1().Services(ns).Create(s.ctx,
				&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labelsFor(team, name, ns)}, Spec: spec}, create)
			return err
		})
	}
	deployment := func(name string, replicas int, spec corev1.PodSpec, fate string) {
		s.do(func() error {
			_, err := s.kube.AppsV1().Deployments(ns).Create(s.ctx, &appsv1.Deployment{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labelsFor(team, name, ns)},
				Spec:       appsv1.DeploymentSpec{Replicas: ptr(int32(replicas)), Selector: selector(name), Template: template(name, spec, fate)},
			}, create)
			return err
		})
	}

	// Jobs and a CronJob.
	jobs := max(1, left*3/100)
	for j := range jobs {
		name := fmt.Sprintf("migrate-%d", j)
		spec := s.workloadSpec(name, share, false)
		spec.RestartPolicy = corev1.RestartPolicyNever
		s.do(func() error {
			_, err := s.kube.BatchV1().Jobs(ns).Create(s.ctx, &batchv1.Job{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labelsFor(team, name, ns)},
				Spec:       batchv1.JobSpec{Template: template(name, spec, "")},
			}, create)
			return err
		})
	}
	want, left = want+jobs, left-jobs
	cron := s.workloadSpec("nightly", share, false)
	cron.RestartPolicy = corev1.RestartPolicyNever
	s.do(func() error {
		made, err := s.kube.BatchV1().CronJobs(ns).Create(s.ctx, &batchv1.CronJob{
			ObjectMeta: metav1.ObjectMeta{Name: "nightly", Labels: labelsFor(team, "nightly", ns)},
			Spec: batchv1.CronJobSpec{
				Schedule:    fmt.Sprintf("%d 3 * * *", index%60),
				JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template("nightly", cron, "")}},
			},
		}, create)
		if err != nil {
			return err
		}
		// What its controller makes of it each night.
		_, err = s.kube.BatchV1().Jobs(ns).Create(s.ctx, &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{
				Name: "nightly-29000000", Labels: labelsFor(team, "nightly", ns),
				Annotations:     map[string]string{"batch.kubernetes.io/cronjob-scheduled-timestamp": "2025-02-19T21:20:00Z"},
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(made, batchv1.SchemeGroupVersion.WithKind("CronJob"))},
			},
			Spec: batchv1.JobSpec{Template: template("nightly", cron, "")},
		}, create)
		return err
	})

	want++ // that of the night; it comes on top of the count

	// Stateful: one claim per pod, bound to volumes made here.
	for i, stateful := 0, max(1, left/10); stateful > 0; i++ {
		n := min(stateful, 3)
		name := fmt.Sprintf("store-%d", i)
		spec := s.workloadSpec(name, share, true)
		for v := range n {
			pv := fmt.Sprintf("pv-%s-%s-%d", ns, name, v)
			s.do(func() error {
				_, err := s.kube.CoreV1().PersistentVolumes().Create(s.ctx, &corev1.PersistentVolume{
					ObjectMeta: metav1.ObjectMeta{Name: pv},
					Spec: corev1.PersistentVolumeSpec{
						Capacity:    corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("20Gi")},
						AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: "static",
						PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
						ClaimRef: &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: ns,
							Name: fmt.Sprintf("data-%s-%d", name, v)},
						PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "ebs.csi.aws.com",
							VolumeHandle: "vol-" + pv}},
					},
				}, create)
				return err
			})
		}
		service(name, true)
		s.do(func() error {
			_, err := s.kube.AppsV1().StatefulSets(ns).Create(s.ctx, &appsv1.StatefulSet{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labelsFor(team, name, ns)},
				Spec: appsv1.StatefulSetSpec{
					Replicas: ptr(int32(n)), ServiceName: name, Selector: selector(name), Template: template(name, spec, ""),
					PodManagementPolicy: appsv1.ParallelPodManagement,
					VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
						ObjectMeta: metav1.ObjectMeta{Name: "data"},
						Spec: corev1.PersistentVolumeClaimSpec{
							AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: ptr("static"),
							Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("20Gi")}},
						},
					}},
				},
			}, create)
			return err
		})
		want, left, stateful = want+n, left-n, stateful-n
	}

	// A few that never get well; they come on top of the count.
	if index%4 == 0 {
		deployment("broken-crash", 1, s.workloadSpec("broken-crash", share, false), "crashloop")
		deployment("broken-oom", 1, s.workloadSpec("broken-oom", share, false), "oom")
		deployment("broken-image", 1, s.workloadSpec("broken-image", share, false), "imagepull")
		huge := s.workloadSpec("broken-huge", share, false)
		huge.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("500")
		deployment("broken-huge", 1, huge, "")
	}

	for i := 0; left > 0; i++ {
		n := min(left, 1+s.rng.IntN(12))
		name := fmt.Sprintf("%s-%d", apps[i%len(apps)], i)
		deployment(name, n, s.workloadSpec(name, share, false), "")
		service(name, false)
		if i%3 == 0 {
			s.do(func() error {
				_, err := s.kube.NetworkingV1().Ingresses(ns).Create(s.ctx, &networkingv1.Ingress{
					ObjectMeta: metav1.ObjectMeta{Name: name},
					Spec: networkingv1.IngressSpec{IngressClassName: ptr("nginx"), Rules: []networkingv1.IngressRule{{
						Host: name + "." + ns + ".example.com",
						IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
							Path: "/", PathType: ptr(networkingv1.PathTypePrefix),
							Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: name,
								Port: networkingv1.ServiceBackendPort{Number: 80}}},
						}}}},
					}}},
				}, create)
				return err
			})
			s.do(func() error {
				_, err := s.kube.PolicyV1().PodDisruptionBudgets(ns).Create(s.ctx, &policyv1.PodDisruptionBudget{
					ObjectMeta: metav1.ObjectMeta{Name: name},
					Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: ptr(intstr.FromInt32(1)), Selector: selector(name)},
				}, create)
				return err
			})
			// Few, because without a metrics API each complains every 15 s.
			if i%12 == 0 {
				s.do(func() error {
					_, err := s.kube.AutoscalingV2().HorizontalPodAutoscalers(ns).Create(s.ctx, &autoscalingv2.HorizontalPodAutoscaler{
						ObjectMeta: metav1.ObjectMeta{Name: name},
						Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
							ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
							MinReplicas:    ptr(int32(n)), MaxReplicas: int32(n + 5),
						},
					}, create)
					return err
				})
			}
		}
		want, left = want+n, left-n
	}
	return want
}

// barePods stands in for the controllers, scheduler and kubelets.
func (s *seeder) barePods(ns, team string, left, share int) int {
	nodes, err := s.kube.CoreV1().Nodes().List(s.ctx, metav1.ListOptions{})
	if err != nil || len(nodes.Items) == 0 {
		s.failed.Add(1)
		return 0
	}
	for i := range left {
		name := fmt.Sprintf("%s-%d", apps[i%len(apps)], i)
		spec := s.workloadSpec(apps[i%len(apps)], share, false)
		node := nodes.Items[s.rng.IntN(len(nodes.Items))]
		spec.NodeName = node.Name
		spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		s.do(func() error {
			pods := s.kube.CoreV1().Pods(ns)
			p, err := pods.Create(s.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labelsFor(team, name, ns)}, Spec: spec},
				create)
			if err != nil {
				return err
			}
			now := metav1.Now()
			p.Status.Phase, p.Status.StartTime = corev1.PodRunning, &now
			p.Status.HostIP = node.Status.Addresses[0].Address
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now}}
			for _, c := range spec.Containers {
				p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
					Name: c.Name, Image: c.Image, Ready: true, Started: ptr(true),
					State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
				})
			}
			_, err = pods.UpdateStatus(s.ctx, p, metav1.UpdateOptions{FieldManager: "k8s-seed"})
			return err
		})
	}
	return left
}
