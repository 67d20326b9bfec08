package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// churnSpace is the namespace of what churn creates and deletes.
const churnSpace = "churn"

// churn changes a filled cluster at a steady rate for a time: it scales and
// labels Deployments, and creates, changes and deletes ConfigMaps and pods of its
// own. It changes the same things in the same order each time on the same estate.
func (s *seeder) churn(perSecond float64, length time.Duration) error {
	if _, err := s.kube.CoreV1().Namespaces().Create(s.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: churnSpace}},
		create); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	// Until it is there, no pod can be.
	for s.ctx.Err() == nil {
		if _, err := s.kube.CoreV1().ServiceAccounts(churnSpace).Get(s.ctx, "default", metav1.GetOptions{}); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	list, err := s.kube.AppsV1().Deployments("").List(s.ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=k8s-seed"})
	if err != nil {
		return err
	}
	deployments := slices.DeleteFunc(list.Items, func(d appsv1.Deployment) bool { return strings.HasPrefix(d.Name, "broken-") })
	if len(deployments) == 0 {
		return errors.New("there is nothing to change: fill the cluster first (k8s-seed without -churn)")
	}

	var mu sync.Mutex
	counts := map[string]int{}
	count := func(what string, err error) {
		if err != nil && s.ctx.Err() == nil {
			log.Printf("%s: %v", what, err)
			what += " failed"
		}
		mu.Lock()
		counts[what]++
		mu.Unlock()
	}
	run := func(what string, f func() error) {
		s.wg.Add(1)
		s.jobs <- func() error {
			count(what, f())
			return nil
		}
	}

	var made []string // ConfigMaps and pods that are there
	began := time.Now()
	stamp := fmt.Sprintf("%x", began.UnixMilli()) // two runs do not meet
	ctx, cancel := context.WithTimeout(s.ctx, length)
	defer cancel()
	tick := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
	defer tick.Stop()
	n := 0
loop:
	for ; ; n++ {
		select {
		case <-ctx.Done():
			break loop
		case <-tick.C:
		}
		name := fmt.Sprintf("churn-%s-%d", stamp, n)
		switch choice := s.rng.IntN(10); {
		case choice < 2:
			d := deployments[s.rng.IntN(len(deployments))]
			patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, max(0, int(*d.Spec.Replicas)+s.rng.IntN(3)-1))
			run("scaled a Deployment", func() error {
				_, err := s.kube.AppsV1().Deployments(d.Namespace).Patch(s.ctx, d.Name, types.MergePatchType, patch,
					metav1.PatchOptions{FieldManager: "k8s-seed"})
				return err
			})
		case choice < 5:
			d := deployments[s.rng.IntN(len(deployments))]
			patch := fmt.Appendf(nil, `{"metadata":{"labels":{"churn":"%d"}}}`, n)
			run("labelled a Deployment", func() error {
				_, err := s.kube.AppsV1().Deployments(d.Namespace).Patch(s.ctx, d.Name, types.MergePatchType, patch,
					metav1.PatchOptions{FieldManager: "k8s-seed"})
				return err
			})
		case choice < 7 || len(made) < 4:
			name = "config-" + name
			made = append(made, name)
			run("created a ConfigMap", func() error {
				_, err := s.kube.CoreV1().ConfigMaps(churnSpace).Create(s.ctx, &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"n": fmt.Sprint(n)},
				}, create)
				return err
			})
		case choice < 8:
			name = "pod-" + name
			made = append(made, name)
			spec := s.podSpec("churn", 10, false)
			run("created a pod", func() error {
				_, err := s.kube.CoreV1().Pods(churnSpace).Create(s.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, create)
				return err
			})
		default:
			// One of the older half, whose creation is through.
			i := s.rng.IntN(len(made) / 2)
			gone := made[i]
			made = slices.Delete(made, i, i+1)
			if strings.HasPrefix(gone, "pod-") {
				run("deleted a pod", func() error {
					return s.kube.CoreV1().Pods(churnSpace).Delete(s.ctx, gone, metav1.DeleteOptions{})
				})
			} else {
				run("deleted a ConfigMap", func() error {
					return s.kube.CoreV1().ConfigMaps(churnSpace).Delete(s.ctx, gone, metav1.DeleteOptions{})
				})
			}
		}
	}
	s.wg.Wait()
	took := time.Since(began)
	failed := 0
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		log.Printf("%6d %s", counts[what], what)
		if strings.HasSuffix(what, " failed") {
			failed += counts[what]
		}
	}
	log.Printf("%d changes in %v: %.1f a second", n, took.Round(time.Millisecond), float64(n)/took.Seconds())
	if failed > 0 {
		return fmt.Errorf("%d of %d changes failed", failed, n)
	}
	return s.ctx.Err()
}
