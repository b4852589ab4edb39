(* The weights of NetREX-CF from the prior. An edge named by k layers of evidence
   has the confidence C = (multiplier of k) x (sum of its weights, each layer
   scaled to at most 1). With P = 1[C > 0]

     alpha = C on the prior, 1 off it;  beta = boost C on it, max(C) - 1 off it,

   and lam one number. For max(C) > 1 these are weights that Proposition 2 takes. *)
From mathcomp Require Import all_ssreflect all_algebra.
From unigrn Require Import frame ridge completed_square netrex_cf.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* of the multipliers e, with h layers, that of an edge which k of them name:
   with fewer layers than multipliers the last ones count *)
Definition multiplier (T : Type) (none : T) (e : seq T) (h k : nat) : T :=
  if k is 0 then none else nth none e (minn (size e + k - h.+1) (size e).-1).

Section Evidence.
Variables (R : realFieldType) (n m h : nat) (V : 'I_h -> 'M[R]_(n, m)).
Variables (e : seq R) (strength boost : R).

Definition most (M : 'M[R]_(n, m)) : R := \big[Num.max/0]_i \big[Num.max/0]_j M i j.

Definition layers_naming i j : nat := (\sum_s (0%R < V s i j)%R)%N.
Definition evidence : 'M[R]_(n, m) :=
  \matrix_(i, j) (multiplier 0 e h (layers_naming i j) * \sum_s V s i j / most (V s)).

Definition named : 'M[bool]_(n, m) := \matrix_(i, j) (0 < evidence i j).
Definition evidence_lam : 'M[R]_(n, m) := const_mx strength.
Definition evidence_alpha : 'M[R]_(n, m) :=
  \matrix_(i, j) (if named i j then evidence i j else 1).
Definition evidence_beta : 'M[R]_(n, m) :=
  \matrix_(i, j) (if named i j then boost * evidence i j else most evidence - 1).

Theorem evidence_weights : 0 < strength -> 0 < boost -> 1 < most evidence ->
  forall i j, [/\ evidence_beta i j != 0,
    0 <= evidence_lam i j * evidence_alpha i j & 0 <= evidence_lam i j * evidence_beta i j].
Proof.
move=> s0 b0 m1 i j; have a0 : 0 < evidence_alpha i j.
  by rewrite mxE [named i j]mxE; case: ifP => // _; rewrite ltr01.
have g0 : 0 < evidence_beta i j.
  by rewrite mxE [named i j]mxE; case: ifP => [c0|_]; rewrite ?mulr_gt0 ?subr_gt0.
by rewrite gt_eqF //; split=> //; rewrite mxE ltW // mulr_gt0.
Qed.

End Evidence.

(* As sketched: conf = 1 + slope x (summed weights W), on the prior where W > 0. *)
Definition sketched_conf (R : realFieldType) n m (slope : R) (W : 'M[R]_(n, m)) : 'M[R]_(n, m) :=
  \matrix_(i, j) (1 + slope * W i j).
Definition sketched_named (R : realFieldType) n m (W : 'M[R]_(n, m)) : 'M[bool]_(n, m) :=
  \matrix_(i, j) (0 < W i j).

(* the released objective with these weights *)
Definition netrex_cf_of_evidence (R : realFieldType) n m l d h (E : 'M[R]_(n, l))
    (V : 'I_h -> 'M[R]_(n, m)) (e : seq R) (strength boost lambda_a lambda_s rho eta0 : R) :=
  @netrex_cf R n m l d E (named V e) (evidence_lam n m strength) (evidence_alpha V e)
    (evidence_beta V e boost) lambda_a lambda_s rho eta0.
