(* Ridge regression by its normal equations, with row weights and several
   responses at once. For weights >= 0 and alpha > 0 the matrix
   X'WX + alpha I is invertible, the objective is its least value plus a
   square, and so the solution of the normal equations is the one minimiser.
   With X = S, Y = E and weights 1 this eliminates the activities A of
   |E - S A|^2 + lambda |A|^2, with the least value in closed form. *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From unigrn Require Import frame.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Squares.
Variable R : realFieldType.

(* sum of squares of all entries *)
Definition norm2 n l (M : 'M[R]_(n, l)) : R := \sum_i \sum_k M i k ^+ 2.

(* rows weighted *)
Definition wnorm2 n l (w : 'rV[R]_n) (M : 'M[R]_(n, l)) : R :=
  \sum_i w 0 i * \sum_k M i k ^+ 2.

Definition inner n l (M N : 'M[R]_(n, l)) : R := \sum_i \sum_k M i k * N i k.

Lemma inner_trace n l (M N : 'M[R]_(n, l)) : inner M N = \tr (M^T *m N).
Proof.
rewrite /inner exchange_big /=; apply: eq_bigr => k _; rewrite mxE.
by apply: eq_bigr => i _; rewrite mxE.
Qed.

Lemma inner_sym n l (M N : 'M[R]_(n, l)) : inner M N = inner N M.
Proof. by apply: eq_bigr => i _; apply: eq_bigr => k _; rewrite mulrC. Qed.

Lemma innerDl n l (M M' N : 'M[R]_(n, l)) : inner (M + M') N = inner M N + inner M' N.
Proof. by rewrite !inner_trace linearD mulmxDl linearD. Qed.

Lemma innerDr n l (M N N' : 'M[R]_(n, l)) : inner M (N + N') = inner M N + inner M N'.
Proof. by rewrite !inner_trace mulmxDr linearD. Qed.

Lemma innerBr n l (M N N' : 'M[R]_(n, l)) : inner M (N - N') = inner M N - inner M N'.
Proof. by rewrite !inner_trace mulmxBr linearB. Qed.

Lemma innerBl n l (M M' N : 'M[R]_(n, l)) : inner (M - M') N = inner M N - inner M' N.
Proof. by rewrite inner_sym innerBr !(inner_sym N). Qed.

Lemma innerZr n l a (M N : 'M[R]_(n, l)) : inner M (a *: N) = a * inner M N.
Proof. by rewrite !inner_trace -scalemxAr linearZ. Qed.

Lemma inner_mul n q l (X : 'M[R]_(n, q)) (D : 'M[R]_(q, l)) (N : 'M[R]_(n, l)) :
  inner (X *m D) N = inner D (X^T *m N).
Proof. by rewrite !inner_trace trmx_mul mulmxA. Qed.

Lemma norm2_inner n l (M : 'M[R]_(n, l)) : norm2 M = inner M M.
Proof. by apply: eq_bigr => i _; apply: eq_bigr => k _; rewrite expr2. Qed.

Lemma wnorm2_inner n l w (M : 'M[R]_(n, l)) : wnorm2 w M = inner M (diag_mx w *m M).
Proof.
apply: eq_bigr => i _; rewrite mulr_sumr; apply: eq_bigr => k _.
by rewrite mul_diag_mx mxE expr2 mulrCA.
Qed.

Lemma norm2_ge0 n l (M : 'M[R]_(n, l)) : 0 <= norm2 M.
Proof. by apply: sumr_ge0 => i _; apply: sumr_ge0 => k _; apply: sqr_ge0. Qed.

Lemma norm2_eq0 n l (M : 'M[R]_(n, l)) : norm2 M = 0 -> M = 0.
Proof.
move=> h; apply/matrixP => i k; rewrite mxE; apply/eqP; rewrite -sqrf_eq0.
move/eqP: h; rewrite psumr_eq0; last by move=> j _; apply: sumr_ge0 => s _; apply: sqr_ge0.
move/allP/(_ i (mem_index_enum _)) => /=; rewrite psumr_eq0; last by move=> s _; apply: sqr_ge0.
by move/allP/(_ k (mem_index_enum _)).
Qed.

Lemma wnorm2_ge0 n l (w : 'rV[R]_n) (M : 'M[R]_(n, l)) :
  (forall i, 0 <= w 0 i) -> 0 <= wnorm2 w M.
Proof.
move=> w0; apply: sumr_ge0 => i _; apply: mulr_ge0 => //.
by apply: sumr_ge0 => k _; apply: sqr_ge0.
Qed.

Lemma wnorm2_ones n l (M : 'M[R]_(n, l)) : wnorm2 (const_mx 1) M = norm2 M.
Proof. by apply: eq_bigr => i _; rewrite mxE mul1r. Qed.

Lemma wnorm2B n l w (M N : 'M[R]_(n, l)) :
  wnorm2 w (M - N) = wnorm2 w M - 2%:R * inner N (diag_mx w *m M) + wnorm2 w N.
Proof.
have sym : inner M (diag_mx w *m N) = inner N (diag_mx w *m M).
  by rewrite inner_sym inner_mul tr_diag_mx.
rewrite !wnorm2_inner mulmxBr innerBl !innerBr sym; ring.
Qed.

Lemma norm2D n l (M N : 'M[R]_(n, l)) :
  norm2 (M + N) = norm2 M + 2%:R * inner M N + norm2 N.
Proof.
rewrite !norm2_inner innerDl !innerDr (inner_sym N M); ring.
Qed.

Lemma norm2Z n l s (M : 'M[R]_(n, l)) : norm2 (s *: M) = s ^+ 2 * norm2 M.
Proof.
rewrite /norm2 mulr_sumr; apply: eq_bigr => i _; rewrite mulr_sumr.
by apply: eq_bigr => k _; rewrite mxE exprMn.
Qed.

Section Ridge.
Variables (n q l : nat) (w : 'rV[R]_n) (X : 'M[R]_(n, q)) (Y : 'M[R]_(n, l)) (alpha : R).
Hypothesis w_ge0 : forall i, 0 <= w 0 i.
Hypothesis alpha_gt0 : 0 < alpha.

Definition ridge (B : 'M[R]_(q, l)) : R := wnorm2 w (Y - X *m B) + alpha * norm2 B.
Definition gram : 'M[R]_q := X^T *m diag_mx w *m X + alpha%:M.
Definition cross : 'M[R]_(q, l) := X^T *m diag_mx w *m Y.
Definition ridge_solution : 'M[R]_(q, l) := invmx gram *m cross.

Theorem gram_unit : gram \in unitmx.
Proof.
rewrite -row_free_unit -kermx_eq0; apply/eqP/row_matrixP => i.
rewrite row0; set u := row i _; have ug : u *m gram = 0.
  by apply/sub_kermxP; rewrite row_sub.
have gu : gram^T = gram.
  rewrite /gram linearD /= !trmx_mul trmxK tr_diag_mx tr_scalar_mx mulmxA.
  by [].
have guT : gram *m u^T = 0 by rewrite -{1}gu -trmx_mul ug trmx0.
have : wnorm2 w (X *m u^T) + alpha * norm2 u^T = 0.
  rewrite wnorm2_inner norm2_inner -innerZr inner_mul -innerDr.
  rewrite -mul_scalar_mx !mulmxA -mulmxDl guT inner_trace mulmx0 mxtrace0 //.
move/eqP; rewrite paddr_eq0 ?wnorm2_ge0 ?mulr_ge0 ?norm2_ge0 ?ltW //.
case/andP=> _; rewrite mulf_eq0 gt_eqF //= => /eqP /norm2_eq0 e.
by rewrite -[u]trmxK e trmx0.
Qed.

Theorem normal_equations B : gram *m B = cross <-> B = ridge_solution.
Proof.
rewrite /ridge_solution; have u := gram_unit.
by split=> [<-|->]; rewrite ?mulKmx ?mulKVmx.
Qed.

(* the gradient of the objective vanishes at the solution *)
Lemma stationary : X^T *m (diag_mx w *m (Y - X *m ridge_solution)) = alpha *: ridge_solution.
Proof.
have /eqP := (normal_equations ridge_solution).2 erefl.
rewrite /gram /cross mulmxDl mul_scalar_mx eq_sym -subr_eq0 => /eqP e.
apply/eqP; rewrite -subr_eq0 -[X in _ == X]e; apply/eqP.
by rewrite !mulmxBr !mulmxA opprD addrA.
Qed.

(* completing the square *)
Theorem ridge_square B :
  ridge B = ridge ridge_solution + wnorm2 w (X *m (B - ridge_solution))
            + alpha * norm2 (B - ridge_solution).
Proof.
have st : inner (X *m (B - ridge_solution)) (diag_mx w *m (Y - X *m ridge_solution)) =
          alpha * inner ridge_solution (B - ridge_solution).
  by rewrite inner_mul stationary innerZr inner_sym.
have eB : B = ridge_solution + (B - ridge_solution) by rewrite addrC subrK.
rewrite [in LHS]eB; move: ridge_solution (B - ridge_solution) st => s D st.
rewrite /ridge mulmxDr opprD addrA wnorm2B norm2D st; ring.
Qed.

Theorem ridge_argmin B : argmin (@free _) ridge B <-> B = ridge_solution.
Proof.
split=> [[_ /(_ ridge_solution I)]|->].
- rewrite [ridge B]ridge_square -addrA ger_addl => h.
  have h0 : alpha * norm2 (B - ridge_solution) <= 0.
    by apply: le_trans h; rewrite ler_addr wnorm2_ge0.
  apply/eqP; rewrite -subr_eq0; apply/eqP/norm2_eq0/le_anti.
  by rewrite norm2_ge0 andbT -(pmulr_rle0 _ alpha_gt0).
- split=> // C _; rewrite [X in _ <= X]ridge_square -addrA ler_addl.
  by rewrite addr_ge0 ?wnorm2_ge0 // mulr_ge0 ?norm2_ge0 ?ltW.
Qed.

Theorem ridge_least : ridge ridge_solution = inner Y (diag_mx w *m (Y - X *m ridge_solution)).
Proof.
rewrite /ridge wnorm2_inner norm2_inner innerBl inner_mul stationary innerZr.
by rewrite addrNK.
Qed.

End Ridge.

(* Units: a design multiplied by s (another standard deviation, say the one
   with denominator n - 1) is the original design with another alpha. *)
Theorem ridge_units n q l w (X : 'M[R]_(n, q)) (Y : 'M[R]_(n, l)) alpha s B :
  s != 0 -> ridge w (s *: X) Y alpha B = ridge w X Y (alpha / s ^+ 2) (s *: B).
Proof.
move=> s0; rewrite /ridge -scalemxAl -scalemxAr; congr (_ + _).
by rewrite norm2Z mulrA divfK // expf_neq0.
Qed.

(* Elimination of the activities A, and of nothing else, in closed form. *)
Section Elimination.
Variables (n m l : nat) (E : 'M[R]_(n, l)) (S : 'M[R]_(n, m)) (lambda : R).
Hypothesis lambda_gt0 : 0 < lambda.

Definition reconstruction (A : 'M[R]_(m, l)) : R := norm2 (E - S *m A) + lambda * norm2 A.
Definition activities : 'M[R]_(m, l) := invmx (S^T *m S + lambda%:M) *m (S^T *m E).
Definition reconstruction_least : R :=
  lambda * inner E (invmx (S *m S^T + lambda%:M) *m E).

Lemma ones_ge0 k i : 0 <= (const_mx 1 : 'rV[R]_k) 0 i.
Proof. by rewrite mxE ler01. Qed.

Lemma reconstruction_ridge A : reconstruction A = ridge (const_mx 1) S E lambda A.
Proof. by rewrite /ridge wnorm2_ones. Qed.

Lemma activities_ridge : activities = ridge_solution (const_mx 1) S E lambda.
Proof. by rewrite /ridge_solution /gram /cross diag_const_mx mulmx1. Qed.

Theorem activities_argmin A : argmin (@free _) reconstruction A <-> A = activities.
Proof.
rewrite activities_ridge; have e := ridge_argmin S E (@ones_ge0 n) lambda_gt0 A.
have e' := @argmin_ext _ _ (@free _) reconstruction (ridge (const_mx 1) S E lambda) A
             (fun B _ => reconstruction_ridge B).
by split=> [/e'/e|/e/e'].
Qed.

Theorem reconstruction_at_activities :
  reconstruction activities = reconstruction_least.
Proof.
rewrite reconstruction_ridge activities_ridge.
rewrite (ridge_least S E (@ones_ge0 n) lambda_gt0) diag_const_mx mul1mx.
set A := ridge_solution _ _ _ _.
have st : S^T *m (E - S *m A) = lambda *: A.
  have := stationary S E (@ones_ge0 n) lambda_gt0.
  by rewrite diag_const_mx mul1mx.
have unit : S *m S^T + lambda%:M \in unitmx.
  have := @gram_unit m n (const_mx 1) S^T lambda (@ones_ge0 m) lambda_gt0.
  by rewrite /gram diag_const_mx mulmx1 trmxK.
have push : (S *m S^T + lambda%:M) *m (E - S *m A) = lambda *: E.
  rewrite mulmxDl mul_scalar_mx -mulmxA st -scalemxAr -scalerDr.
  by rewrite addrC subrK.
by rewrite -[E - _](mulKmx unit) push -scalemxAr innerZr.
Qed.

Theorem reconstruction_is_min : is_min reconstruction reconstruction_least.
Proof.
rewrite -reconstruction_at_activities; apply/is_minP.
exact/activities_argmin.
Qed.

End Elimination.
End Squares.
