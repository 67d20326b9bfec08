// Command k8s-seed fills a cluster with a realistic estate: nodes played by
// kwok, namespaces with workloads of every built-in kind, storage, networking,
// RBAC, policies and custom resources.
//
//	k8s-seed -nodes 100 -pods 2000
//	k8s-seed -canaries planted.json    # and made-up secrets all over the place
//	k8s-seed -churn 10 -for 2m         # change a filled cluster
//
// The estate is the same for the same flags (names and sizes come from a fixed
// random seed), and a second run adds only what is missing.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	apiextclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
)

type seeder struct {
	ctx  context.Context
	kube kubernetes.Interface
	dyn  dynamic.Interface
	ext  apiextclient.Interface
	rng  *rand.Rand
	opt  options
	// mapper knows the kinds of the cluster, custom ones too.
	mapper meta.RESTMapper
	// id is what no other cluster has.
	id       string
	canaries []*canary
	jobs     chan func() error
	wg       sync.WaitGroup
	made     atomic.Int64
	existing atomic.Int64
	failed   atomic.Int64
}

type options struct {
	nodes, pods, namespaces, workers int
	bare                             bool
	canaries                         string
	churn                            float64
	length, timeout                  time.Duration
}

func main() {
	log.SetFlags(log.Ltime)
	var o options
	kubeconfig := flag.String("kubeconfig", os.Getenv("KUBECONFIG"), "kubeconfig of the cluster to fill")
	flag.IntVar(&o.nodes, "nodes", 100, "fake nodes")
	flag.IntVar(&o.pods, "pods", 2000, "pods that shall run")
	flag.IntVar(&o.namespaces, "namespaces", 20, "namespaces for workloads")
	flag.IntVar(&o.workers, "workers", 16, "parallel requests")
	flag.BoolVar(&o.bare, "bare", false, "create bound pods and set their status here: needs neither controller-manager, scheduler nor kwok")
	flag.StringVar(&o.canaries, "canaries", "", "plant made-up secrets as well, and write them with their places to this `file` (JSON)")
	flag.Float64Var(&o.churn, "churn", 0, "fill nothing, but make this many changes a second")
	flag.DurationVar(&o.length, "for", time.Minute, "how long to make changes")
	flag.DurationVar(&o.timeout, "timeout", 15*time.Minute, "give up after this long")
	flag.Parse()
	if flag.NArg() > 0 || min(o.nodes, o.pods, o.namespaces, o.workers) < 1 || o.churn < 0 || o.churn > 1000 {
		log.Fatal("there are flags only; numbers are at least 1, and changes at most 1000 a second (k8s-seed -h)")
	}
	if *kubeconfig == "" {
		log.Fatal("no cluster: set KUBECONFIG or -kubeconfig")
	}

	cfg, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	cfg.QPS = -1
	cfg.UserAgent = "k8s-seed"
	cfg.WarningHandler = rest.NoWarnings{} // what is deprecated is here on purpose
	protobuf := rest.CopyConfig(cfg)
	protobuf.ContentType = "application/vnd.kubernetes.protobuf"

	ctx, cancel := context.WithTimeout(context.Background(), o.timeout+o.length)
	defer cancel()
	s := &seeder{
		ctx:  ctx,
		kube: kubernetes.NewForConfigOrDie(protobuf),
		dyn:  dynamic.NewForConfigOrDie(cfg),
		ext:  apiextclient.NewForConfigOrDie(cfg),
		rng:  rand.New(rand.NewPCG(42, 42)),
		opt:  o,
		jobs: make(chan func() error, o.workers),
	}
	for range o.workers {
		go func() {
			for f := range s.jobs {
				s.try(f)
				s.wg.Done()
			}
		}()
	}

	run := s.fill
	if o.churn > 0 {
		run = func() error { return s.churn(o.churn, o.length) }
	}
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// fill makes the estate and waits until its pods are up.
func (s *seeder) fill() error {
	start := time.Now()
	system, err := s.kube.CoreV1().Namespaces().Get(s.ctx, "kube-system", metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("the cluster does not answer: %w", err)
	}
	s.id = string(system.UID)
	s.cluster()
	if err := s.discover(); err != nil {
		return err
	}
	s.nodes()
	s.wg.Wait()
	s.apply("cluster.yaml", s.place())
	s.wg.Wait()
	log.Printf("nodes and cluster-wide objects: %v", time.Since(start).Round(time.Millisecond))
	want := s.workloads()
	s.wg.Wait()
	if s.opt.canaries != "" {
		s.apply("canaries.yaml", s.place())
		s.wg.Wait()
		if err := s.writeCanaries(s.opt.canaries); err != nil {
			return err
		}
		log.Printf("%d canaries planted, see %s", len(s.canaries), s.opt.canaries)
	}
	log.Printf("objects created %d, already there %d, failed %d: %v",
		s.made.Load(), s.existing.Load(), s.failed.Load(), time.Since(start).Round(time.Millisecond))
	if failed := s.failed.Load(); failed > 0 {
		return fmt.Errorf("%d objects could not be created", failed)
	}
	if s.made.Load() == 0 {
		return nil // filled before, and maybe scaled since
	}
	if err := s.waitForPods(want); err != nil {
		return err
	}
	log.Printf("%d pods up: %v", want, time.Since(start).Round(time.Millisecond))
	return nil
}

// do queues one request; "already exists" counts as success.
func (s *seeder) do(f func() error) {
	s.wg.Add(1)
	s.jobs <- f
}

func (s *seeder) try(f func() error) {
	var err error
	for attempt := range 5 {
		if err = f(); err == nil {
			s.made.Add(1)
			return
		}
		if apierrors.IsAlreadyExists(err) {
			s.existing.Add(1)
			return
		}
		// A namespace's quota or service account may lag; overload asks for patience.
		if s.ctx.Err() != nil || meta.IsNoMatchError(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
			break
		}
		time.Sleep(time.Duration(1<<attempt) * 200 * time.Millisecond)
	}
	s.fail(err)
}

func (s *seeder) fail(err error) {
	s.failed.Add(1)
	log.Printf("create: %v", err)
}

func (s *seeder) waitForPods(want int) error {
	counts := func(pods cache.Store) (up, total int, phases map[corev1.PodPhase]int) {
		phases = map[corev1.PodPhase]int{}
		for _, o := range pods.List() {
			pod := o.(*corev1.Pod)
			if strings.HasPrefix(pod.Name, "broken-") {
				continue
			}
			p := pod.Status.Phase
			phases[p]++
			total++
			if p == corev1.PodRunning || p == corev1.PodSucceeded {
				up++
			}
		}
		return up, total, phases
	}
	ours := informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "app.kubernetes.io/managed-by=k8s-seed" })
	f := informers.NewSharedInformerFactoryWithOptions(s.kube, 0, ours, informers.WithTransform(func(o any) (any, error) {
		if p, ok := o.(*corev1.Pod); ok {
			return &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace, UID: p.UID, ResourceVersion: p.ResourceVersion},
				Status:     corev1.PodStatus{Phase: p.Status.Phase},
			}, nil
		}
		return o, nil
	}))
	pods := f.Core().V1().Pods().Informer()
	f.Start(s.ctx.Done())
	cache.WaitForCacheSync(s.ctx.Done(), pods.HasSynced)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		up, total, phases := counts(pods.GetStore())
		if up >= want {
			return nil
		}
		if n%20 == 0 {
			log.Printf("waiting: %d of %d up, %d exist, %v", up, want, total, phases)
		}
		select {
		case <-s.ctx.Done():
			return fmt.Errorf("gave up: %d of %d pods up, %v", up, want, phases)
		case <-tick.C:
		}
	}
}
