(* What is algebra in the two Bayesian claims.

   Category 2: with Gaussian noise of variance s2 and a Gaussian prior of
   variance t2 on the coefficients, the most probable coefficients are ridge
   with alpha = s2 / t2.

   Bayesian ridge: for given precisions the coefficients are ridge with
   alpha = l / a; and with the derivatives of the type-II objective written
   out, stationarity in l and a is MacKay's fixed point. That these are the
   derivatives of logarithms and log-determinants is calculus, and not here. *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From unigrn Require Import frame separation ridge.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Map.
Variables (R : realFieldType) (n q l : nat) (X : 'M[R]_(n, q)) (Y : 'M[R]_(n, l)).
Variable w : 'rV[R]_n.
Hypothesis w_ge0 : forall i, 0 <= w 0 i.

(* minus the log joint density, without its constants *)
Definition minus_log_joint (s2 t2 : R) (B : 'M[R]_(q, l)) : R :=
  wnorm2 w (Y - X *m B) / (2%:R * s2) + norm2 B / (2%:R * t2).

Theorem map_is_ridge s2 t2 B : 0 < s2 -> 0 < t2 ->
  argmin (@free _) (minus_log_joint s2 t2) B <-> B = ridge_solution w X Y (s2 / t2).
Proof.
move=> s0 t0; have s2n : s2 != 0 by rewrite gt_eqF.
have t2n : t2 != 0 by rewrite gt_eqF.
have c0 : 0 < (2%:R * s2)^-1 by rewrite invr_gt0 mulr_gt0 ?ltr0n.
have same B' : minus_log_joint s2 t2 B' = (2%:R * s2)^-1 * ridge w X Y (s2 / t2) B' + 0.
  rewrite /minus_log_joint /ridge addr0.
  by move: (wnorm2 _ _) (norm2 _) => r u; field; rewrite s2n t2n.
have ext := argmin_ext B (fun B' (_ : free B') => same B').
have aff := argmin_affine (@free _) (ridge w X Y (s2 / t2)) 0 B c0.
have rid := ridge_argmin X Y w_ge0 (divr_gt0 s0 t0) B.
by split=> [/ext/aff/rid|/rid/aff/ext].
Qed.

(* with a Laplace prior of scale b, a lasso *)
Definition norm1 (B : 'M[R]_(q, l)) : R := \sum_k \sum_j `|B k j|.
Definition minus_log_joint_laplace (s2 b : R) (B : 'M[R]_(q, l)) : R :=
  wnorm2 w (Y - X *m B) / (2%:R * s2) + norm1 B / b.
Definition lasso (lambda : R) (B : 'M[R]_(q, l)) : R :=
  wnorm2 w (Y - X *m B) + lambda * norm1 B.

Theorem map_is_lasso s2 b B : 0 < s2 -> 0 < b ->
  argmin (@free _) (minus_log_joint_laplace s2 b) B <->
  argmin (@free _) (lasso (2%:R * s2 / b)) B.
Proof.
move=> s0 b0; have s2n : s2 != 0 by rewrite gt_eqF.
have bn : b != 0 by rewrite gt_eqF.
have c0 : 0 < (2%:R * s2)^-1 by rewrite invr_gt0 mulr_gt0 ?ltr0n.
have same B' : minus_log_joint_laplace s2 b B' =
    (2%:R * s2)^-1 * lasso (2%:R * s2 / b) B' + 0.
  rewrite /minus_log_joint_laplace /lasso addr0.
  by move: (wnorm2 _ _) (norm1 _) => r u; field; rewrite s2n bn.
have ext := argmin_ext B (fun B' (_ : free B') => same B').
have aff := argmin_affine (@free _) (lasso (2%:R * s2 / b)) 0 B c0.
by split=> [/ext/aff|/aff/ext].
Qed.

(* a variance of its own for each regulator: t are the standard deviations. With
   one column, and by separation over targets, that is one for each edge. *)
Definition minus_log_joint_each (s2 : R) (t : 'rV[R]_q) (B : 'M[R]_(q, l)) : R :=
  wnorm2 w (Y - X *m B) / (2%:R * s2) +
  \sum_k \sum_j B k j ^+ 2 / (2%:R * t 0 k ^+ 2).

Definition type_two (a lam : R) (B : 'M[R]_(q, l)) : R :=
  a * wnorm2 w (Y - X *m B) + lam * norm2 B.

Theorem bayesian_ridge_theta a lam B : 0 < a -> 0 < lam ->
  argmin (@free _) (type_two a lam) B <-> B = ridge_solution w X Y (lam / a).
Proof.
move=> a0 l0; have an : a != 0 by rewrite gt_eqF.
have same B' : type_two a lam B' = a * ridge w X Y (lam / a) B' + 0.
  rewrite /type_two /ridge addr0.
  by move: (wnorm2 _ _) (norm2 _) => r u; field; rewrite an.
have ext := argmin_ext B (fun B' (_ : free B') => same B').
have aff := argmin_affine (@free _) (ridge w X Y (lam / a)) 0 B a0.
have rid := ridge_argmin X Y w_ge0 (divr_gt0 l0 a0) B.
by split=> [/ext/aff/rid|/rid/aff/ext].
Qed.

End Map.

(* in units of the prior's standard deviations the coefficients are ridge *)
Theorem map_is_ridge_each (R : realFieldType) (n q l : nat) (X : 'M[R]_(n, q))
    (Y : 'M[R]_(n, l)) (w : 'rV[R]_n) s2 (t : 'rV[R]_q) B :
  (forall i, 0 <= w 0 i) -> 0 < s2 -> (forall k, 0 < t 0 k) ->
  argmin (@free _) (minus_log_joint_each X Y w s2 t) B <->
  B = diag_mx t *m ridge_solution w (X *m diag_mx t) Y s2.
Proof.
move=> w0 s0 t0; pose u := \row_k (t 0 k)^-1 : 'rV[R]_q.
have tu : diag_mx t *m diag_mx u = 1%:M.
  rewrite mulmx_diag -diag_const_mx; congr diag_mx; apply/rowP => k.
  by rewrite !mxE divff // gt_eqF.
have ut : diag_mx u *m diag_mx t = 1%:M by rewrite (mulmx1C tu).
have eqo C : minus_log_joint_each X Y w s2 t C =
    minus_log_joint (X *m diag_mx t) Y w s2 1 (diag_mx u *m C).
  rewrite /minus_log_joint_each /minus_log_joint; congr (_ + _).
    by rewrite -[X *m _ *m _]mulmxA (mulmxA (diag_mx t)) tu mul1mx.
  rewrite /norm2 mulr_suml; apply: eq_bigr => k _.
  rewrite mulr_suml; apply: eq_bigr => j _.
  have tk : t 0 k != 0 by rewrite gt_eqF.
  have -> : (diag_mx u *m C) k j = (t 0 k)^-1 * C k j by rewrite mul_diag_mx 2!mxE.
  by move: (C k j) (t 0 k) tk => c d dn; field.
have one := map_is_ridge (X *m diag_mx t) Y w0 (diag_mx u *m B) s0 ltr01.
rewrite divr1 in one; split=> [[_ m]|->].
- have /one e : argmin (@free _) (minus_log_joint (X *m diag_mx t) Y w s2 1)
      (diag_mx u *m B).
    split=> // C _; rewrite -eqo.
    by rewrite -{1}[C]mul1mx -ut -mulmxA -eqo; apply: m.
  by rewrite -e mulmxA tu mul1mx.
split=> // C _; rewrite !eqo mulmxA ut mul1mx.
have [_ m] := (map_is_ridge (X *m diag_mx t) Y w0 _ s0 ltr01).2 (erefl _).
by rewrite divr1 in m; apply: m.
Qed.

(* e: eigenvalues of the Gram matrix, n: number of cells, h: hyperprior,
   rss and norm: residual and coefficient sums of squares. *)
Section FixedPoint.
Variables (R : realFieldType) (K : finType) (e : K -> R) (n h rss norm : R).
Hypothesis e_ge0 : forall k, 0 <= e k.
Hypothesis h_gt0 : 0 < h.
Hypothesis rss_ge0 : 0 <= rss.
Hypothesis norm_ge0 : 0 <= norm.

Definition gamma (a lam : R) : R := \sum_k a * e k / (lam + a * e k).

(* derivatives of a rss + lam norm + sum log(a e + lam) - n log a - K log lam
   + 2 h (a + lam) - 2 h (log a + log lam) *)
Definition slope_lam (a lam : R) : R :=
  norm + (\sum_k (a * e k + lam)^-1) - #|K|%:R / lam + 2%:R * h - 2%:R * h / lam.
Definition slope_a (a lam : R) : R :=
  rss + (\sum_k e k / (a * e k + lam)) - n / a + 2%:R * h - 2%:R * h / a.

Lemma pos a lam k : 0 < a -> 0 < lam -> 0 < lam + a * e k.
Proof. by move=> a0 l0; rewrite ltr_paddr // mulr_ge0 // ltW. Qed.

Theorem mackay_lam a lam : 0 < a -> 0 < lam ->
  slope_lam a lam = 0 <-> lam = (gamma a lam + 2%:R * h) / (norm + 2%:R * h).
Proof.
move=> a0 l0; have ln : lam != 0 by rewrite gt_eqF.
have d0 : norm + 2%:R * h != 0.
  by rewrite gt_eqF // ltr_paddl // mulr_gt0 ?ltr0n.
have g : gamma a lam = #|K|%:R - lam * \sum_k (a * e k + lam)^-1.
  rewrite mulr_sumr -sumr_const -sumrB; apply: eq_bigr => k _.
  have p : lam + a * e k != 0 by rewrite gt_eqF // pos.
  rewrite [a * e k + lam]addrC -[1](divff p) -mulrBl; congr (_ / _).
  by rewrite addrC addKr.
have -> : slope_lam a lam = (lam * (norm + 2%:R * h) - (gamma a lam + 2%:R * h)) / lam.
  rewrite /slope_lam g; move: (\sum_k _) => u; by field.
split=> [/eqP|e1].
- rewrite mulf_eq0 invr_eq0 (negbTE ln) orbF subr_eq0 => /eqP <-.
  by rewrite mulfK.
- by rewrite {1}e1 divfK // subrr mul0r.
Qed.

Theorem mackay_a a lam : 0 < a -> 0 < lam ->
  slope_a a lam = 0 <-> a = (n - gamma a lam + 2%:R * h) / (rss + 2%:R * h).
Proof.
move=> a0 l0; have an : a != 0 by rewrite gt_eqF.
have d0 : rss + 2%:R * h != 0.
  by rewrite gt_eqF // ltr_paddl // mulr_gt0 ?ltr0n.
have g : gamma a lam = a * \sum_k e k / (a * e k + lam).
  rewrite mulr_sumr; apply: eq_bigr => k _.
  by rewrite mulrA [lam + _]addrC.
have -> : slope_a a lam = (a * (rss + 2%:R * h) - (n - gamma a lam + 2%:R * h)) / a.
  rewrite /slope_a g; move: (\sum_k _) => u; by field.
split=> [/eqP|e1].
- rewrite mulf_eq0 invr_eq0 (negbTE an) orbF subr_eq0 => /eqP <-.
  by rewrite mulfK.
- by rewrite {1}e1 divfK // subrr mul0r.
Qed.

End FixedPoint.

(* Soft prior, soft data: a Gaussian prior of means mu and standard deviations t is as many more
   rows of data, one for each coefficient, observed at mu with noise of variance t^2. *)
Section SoftData.
Variables (R : realFieldType) (n q l : nat) (X : 'M[R]_(n, q)) (Y : 'M[R]_(n, l)).
Variables (w : 'rV[R]_n) (s2 : R) (t : 'rV[R]_q) (mu : 'M[R]_(q, l)).

(* minus the log joint density, without its constants; its prior centred at mu *)
Definition minus_log_joint_at (B : 'M[R]_(q, l)) : R :=
  wnorm2 w (Y - X *m B) / (2%:R * s2) +
  \sum_k \sum_j (B k j - mu k j) ^+ 2 / (2%:R * t 0 k ^+ 2).

Definition more_cells : 'M[R]_(n + q, q) := col_mx X 1%:M.
Definition more_responses : 'M[R]_(n + q, l) := col_mx Y mu.
Definition precisions : 'rV[R]_(n + q) :=
  row_mx (\row_i (w 0 i / (2%:R * s2))) (\row_k (2%:R * t 0 k ^+ 2)^-1).

Theorem soft_prior_is_soft_data B :
  minus_log_joint_at B = wnorm2 precisions (more_responses - more_cells *m B).
Proof.
rewrite /minus_log_joint_at /wnorm2 big_split_ord /= mulr_suml.
rewrite /more_responses /more_cells mul_col_mx mul1mx opp_col_mx add_col_mx; congr (_ + _).
  apply: eq_bigr => i _; rewrite row_mxEl mxE mulrAC; congr (_ * _).
  by apply: eq_bigr => j _; rewrite col_mxEu.
apply: eq_bigr => k _; rewrite row_mxEr mxE mulr_sumr; apply: eq_bigr => j _.
by rewrite col_mxEd [(mu - B) _ _]mxE [(- B) _ _]mxE mulrC -[(mu k j - _) ^+ 2]sqrrN opprB.
Qed.

End SoftData.

(* a prior of mean 0 is the one above *)
Theorem soft_prior_at_zero (R : realFieldType) (n q l : nat) (X : 'M[R]_(n, q))
    (Y : 'M[R]_(n, l)) w s2 (t : 'rV[R]_q) B :
  minus_log_joint_at X Y w s2 t 0 B = minus_log_joint_each X Y w s2 t B.
Proof.
congr (_ + _); apply: eq_bigr => k _; apply: eq_bigr => j _.
by rewrite mxE subr0.
Qed.

(* The prior as an argument of the regularizer: a network whose edges are wider, t = on, where the
   prior P of their target has the regulator, and t = off elsewhere. *)
Section Prior.
Variables (R : realFieldType) (n q p : nat) (X : 'M[R]_(n, q)) (Y : 'M[R]_(n, p)).
Variables (w : 'rV[R]_n) (s2 on off : R).
Hypothesis w_ge0 : forall i, 0 <= w 0 i.
Hypothesis s2_gt0 : 0 < s2.
Hypothesis on_gt0 : 0 < on.
Hypothesis off_gt0 : 0 < off.

Definition prior_width (P : 'I_p -> {set 'I_q}) j : 'rV[R]_q :=
  \row_k (if k \in P j then on else off).
Definition gaussian_data (B : 'M[R]_(q, p)) : R :=
  \sum_j wnorm2 w (col j Y - X *m col j B) / (2%:R * s2).
Definition gaussian_prior (B : 'M[R]_(q, p)) (P : 'I_p -> {set 'I_q}) : R :=
  \sum_j \sum_k B k j ^+ 2 / (2%:R * prior_width P j 0 k ^+ 2).

Theorem mode_given_prior P B :
  argmin (@free _) (fun B => gaussian_data B + gaussian_prior B P) B <->
  forall j, col j B = diag_mx (prior_width P j)
                      *m ridge_solution w (X *m diag_mx (prior_width P j)) (col j Y) s2.
Proof.
pose f j (b : 'cV[R]_q) := minus_log_joint_each X (col j Y) w s2 (prior_width P j) b.
have same B' : gaussian_data B' + gaussian_prior B' P = \sum_j f j (col j B').
  rewrite -big_split; apply: eq_bigr => j _; congr (_ + _); apply: eq_bigr => k _.
  by rewrite big_ord1 [col j B' k _]mxE.
have t0 j k : 0 < prior_width P j 0 k by rewrite mxE; case: ifP.
have sep := columns_separate (fun=> @free _) f B.
have one j := map_is_ridge_each X (col j Y) (col j B) w_ge0 s2_gt0 (t0 j).
split=> [[_ h] j|h].
  apply/one/(sep.1 _ j); split=> // B' _; rewrite -!same; exact: h.
split=> // B' _; rewrite !same.
by have [_] := sep.2 (fun j => (one j).2 (h j)); apply.
Qed.

End Prior.
