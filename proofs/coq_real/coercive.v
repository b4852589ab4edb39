(* Over the real numbers a continuous function that is not small far away has a
   minimum. For functions of a row vector: where all points no worse than 0 lie
   in a box. For functions of a pair of matrices: where they are bounded below
   by a positive multiple of the squares of all entries. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import boolp classical_sets mathcomp_extra reals topology normedtype.
From unigrn Require Import ridge.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Import numFieldTopology.Exports.
Local Open Scope classical_set_scope.
Local Open Scope ring_scope.

Section Vector.
Variable R : realType.

Lemma compact_largest (A : set R^o) : A !=set0 -> compact A ->
  exists2 a, A a & forall x, A x -> x <= a.
Proof.
move=> A0 cA; have [M [_ hM]] : bounded_set A by exact: compact_bounded.
have ub : has_ubound A.
  exists (M + 1) => x Ax; apply: le_trans (ler_norm x) _.
  by apply: (hM (M + 1)) => //; rewrite ltr_addl.
have clA : closed A by apply: compact_closed => //; exact: norm_hausdorff.
exists (sup A) => [|x Ax]; last exact: sup_upper_bound.
by rewrite [X in X _](closure_id A).1 //; exact: closure_sup.
Qed.

Theorem coercive_min N (f : 'rV[R]_N -> R) (M : R) : continuous f ->
  (forall v, f v <= f 0 -> forall i, `|v ord0 i| <= M) ->
  exists v, forall u, f v <= f u.
Proof.
case: N f => [|N] f fc co; first by exists 0 => u; rewrite [u]thinmx0.
pose A : set 'rV[R]_N.+1 := [set v | forall i, v ord0 i \in `[- M, M]].
have cA : compact A.
  apply: (@rV_compact _ _ (fun=> `[- M, M]%classic)) => i; exact: segment_compact.
have inA v : f v <= f 0 -> A v.
  by move=> h i; rewrite in_itv /= -ler_norml; apply: co.
pose g (v : 'rV[R]_N.+1) : R^o := - f v.
have cg : compact (g @` A).
  apply: continuous_compact => //; apply: continuous_subspaceT => v.
  by apply: continuousN; exact: fc.
have A0 : A 0 by exact: inA.
have [|_ [v _ <-] best] := @compact_largest (g @` A) _ cg; first by exists (g 0), 0.
have low u : A u -> f v <= f u.
  by move=> Au; rewrite -ler_opp2; apply: best; exists u.
exists v => u; have [/inA/low //|h] := leP (f u) (f 0).
exact: le_trans (low _ A0) (ltW h).
Qed.

End Vector.

(* polynomials are continuous *)
Section Continuous.
Variables (R : realType) (T : topologicalType).
Implicit Types f g : T -> R.

Lemma continuous_ext f g : f =1 g -> continuous f -> continuous g.
Proof. by move=> /funext ->. Qed.

Lemma continuous_const (c : R) : continuous (fun _ : T => c).
Proof. exact: cst_continuous. Qed.

Lemma continuous_add f g : continuous f -> continuous g -> continuous (fun v => f v + g v).
Proof.
move=> cf cg v.
by apply: (@continuousD _ [normedModType R of R^o] _ f g v); [exact: cf | exact: cg].
Qed.

Lemma continuous_opp f : continuous f -> continuous (fun v => - f v).
Proof.
by move=> cf v; apply: (@continuousN _ [normedModType R of R^o] _ f v); exact: cf.
Qed.

Lemma continuous_mul f g : continuous f -> continuous g -> continuous (fun v => f v * g v).
Proof. by move=> cf cg v; apply: (@continuousM _ _ f g v); [exact: cf | exact: cg]. Qed.

Lemma continuous_sqr f : continuous f -> continuous (fun v => f v ^+ 2).
Proof.
move=> cf; apply: (@continuous_ext (fun v => f v * f v)) => [v|]; first by rewrite expr2.
exact: continuous_mul.
Qed.

Lemma continuous_sum (I : Type) (r : seq I) (F : I -> T -> R) :
  (forall i, continuous (F i)) -> continuous (fun v => \sum_(i <- r) F i v).
Proof.
move=> cF; elim: r => [|i r IH].
  by apply: (@continuous_ext (fun=> 0)) => [v|]; [rewrite big_nil | exact: continuous_const].
apply: (@continuous_ext (fun v => F i v + \sum_(j <- r) F j v)) => [v|].
  by rewrite big_cons.
exact: continuous_add.
Qed.

(* the squares of all entries of a matrix of continuous functions *)
Lemma continuous_norm2 n l (F : T -> 'M[R]_(n, l)) :
  (forall i j, continuous (fun v => F v i j)) -> continuous (fun v => norm2 (F v)).
Proof.
move=> cF; apply: continuous_sum => i; apply: continuous_sum => j; exact: continuous_sqr.
Qed.

Lemma continuous_mulmx n m l (F : T -> 'M[R]_(n, m)) (G : T -> 'M[R]_(m, l)) i j :
  (forall i k, continuous (fun v => F v i k)) -> (forall k j, continuous (fun v => G v k j)) ->
  continuous (fun v => (F v *m G v) i j).
Proof.
move=> cF cG; apply: (@continuous_ext (fun v => \sum_k F v i k * G v k j)) => [v|].
  by rewrite mxE.
by apply: continuous_sum => k; apply: continuous_mul.
Qed.

End Continuous.

Lemma entry_le_norm2 (R : realFieldType) n l (M : 'M[R]_(n, l)) i j : M i j ^+ 2 <= norm2 M.
Proof.
rewrite /norm2 (bigD1 i) //= (bigD1 j) //= -addrA ler_addl addr_ge0 //.
  by apply: sumr_ge0 => k _; apply: sqr_ge0.
by apply: sumr_ge0 => k _; apply: sumr_ge0 => s _; apply: sqr_ge0.
Qed.

Lemma abs_le (R : realFieldType) (x b : R) : x ^+ 2 <= b -> `|x| <= 1 + b.
Proof.
rewrite -real_normK ?num_real // => h; have b0 := le_trans (sqr_ge0 _) h.
have [h1|/ltW h1] := leP `|x| 1; first by apply: le_trans h1 _; rewrite ler_addl.
apply: (@le_trans _ _ b); last by rewrite ler_addr ler01.
by apply: le_trans h; rewrite expr2 ler_pemull.
Qed.

(* a pair of matrices, read from one row vector *)
Section Pair.
Variables (R : realType) (a b c d : nat).

Definition left_of (v : 'rV[R]_(a * b + c * d)) : 'M[R]_(a, b) := vec_mx (lsubmx v).
Definition right_of (v : 'rV[R]_(a * b + c * d)) : 'M[R]_(c, d) := vec_mx (rsubmx v).

Lemma left_ofE i j v : left_of v i j = v ord0 (lshift _ (mxvec_index i j)).
Proof. by rewrite 2!mxE. Qed.

Lemma right_ofE i j v : right_of v i j = v ord0 (rshift _ (mxvec_index i j)).
Proof. by rewrite 2!mxE. Qed.

Lemma left_of_continuous i j : continuous (fun v => left_of v i j).
Proof.
by apply: (continuous_ext (fun v => esym (left_ofE i j v))); exact: coord_continuous.
Qed.

Lemma right_of_continuous i j : continuous (fun v => right_of v i j).
Proof.
by apply: (continuous_ext (fun v => esym (right_ofE i j v))); exact: coord_continuous.
Qed.

Theorem pair_min (g : 'M[R]_(a, b) * 'M[R]_(c, d) -> R) (rho : R) : 0 < rho ->
  continuous (fun v => g (left_of v, right_of v)) ->
  (forall t, rho * (norm2 t.1 + norm2 t.2) <= g t) ->
  exists t, forall t', g t <= g t'.
Proof.
move=> r0 cg low; pose f v := g (left_of v, right_of v).
have [|v best] := @coercive_min R _ f (1 + f 0 / rho) cg.
  move=> v fv i; apply: abs_le; rewrite ler_pdivl_mulr // mulrC.
  apply: le_trans fv; apply: le_trans (low _); rewrite ler_pmul2l //=.
  have n1 : 0 <= norm2 (left_of v) by exact: norm2_ge0.
  have n2 : 0 <= norm2 (right_of v) by exact: norm2_ge0.
  case: (split_ordP i) => j ->; case/mxvec_indexP: j => p q.
  - by rewrite -left_ofE; apply: le_trans (entry_le_norm2 _ p q) _; rewrite ler_addl.
  - by rewrite -right_ofE; apply: le_trans (entry_le_norm2 _ p q) _; rewrite ler_addr.
exists (left_of v, right_of v) => -[X Y].
have := best (row_mx (mxvec X) (mxvec Y)).
by rewrite /f /left_of /right_of row_mxKl row_mxKr !mxvecK.
Qed.

End Pair.
