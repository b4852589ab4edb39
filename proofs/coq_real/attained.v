(* What Proposition 2 assumes of the released NetREX-CF objective holds over the
   real numbers, where all ridges are positive: the least factor part of every
   support is attained, so is the least smooth part within a support, and so is
   the least objective. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import boolp classical_sets mathcomp_extra reals topology normedtype.
From unigrn Require Import frame blocks ridge completed_square netrex_cf evidence.
From unigrn_real Require Import coercive.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Import numFieldTopology.Exports.
Local Open Scope ring_scope.

Section Attained.
Variables (R : realType) (n m l d : nat) (E : 'M[R]_(n, l)).
Variables (P : 'M[bool]_(n, m)) (lam alpha beta : 'M[R]_(n, m)).
Variables (lambda_a lambda_s rho eta0 : R).
Hypothesis lambda_a_gt0 : 0 < lambda_a.
Hypothesis lambda_s_gt0 : 0 < lambda_s.
Hypothesis rho_gt0 : 0 < rho.
Hypothesis beta_neq0 : forall i j, beta i j != 0.
Hypothesis lamalpha_ge0 : forall i j, 0 <= lam i j * alpha i j.
Hypothesis lambeta_ge0 : forall i j, 0 <= lam i j * beta i j.
Hypothesis eta0_ge0 : 0 <= eta0.

Let cost := @factor_part R n m d P lam alpha beta rho eta0.
Let objective := @netrex_cf R n m l d E P lam alpha beta lambda_a lambda_s rho eta0.

Theorem factors_attained Z : exists v, is_min (cost Z) v.
Proof.
have [||t best] := @pair_min R d n d m (cost Z) rho rho_gt0.
- apply: continuous_add; last first.
    apply: continuous_mul; first exact: continuous_const.
    by apply: continuous_add; apply: continuous_norm2 => i j;
      [exact: left_of_continuous | exact: right_of_continuous].
  apply: continuous_sum => i; apply: continuous_sum => j.
  apply: continuous_add; last exact: continuous_const.
  apply: continuous_mul; first exact: continuous_const.
  apply: continuous_sqr; apply: continuous_add; first exact: continuous_const.
  apply: continuous_opp; apply: continuous_mulmx => [i' k|k j'].
    by apply: (continuous_ext _ (@left_of_continuous R d n d m k i')) => v; rewrite [RHS]mxE.
  exact: right_of_continuous.
- move=> t; rewrite ler_addr; apply: sumr_ge0 => i _; apply: sumr_ge0 => j _.
  rewrite completed_square // addr_ge0 // mulr_ge0 ?sqr_ge0 ?ler0n //.
  exact: le_trans eta0_ge0 (price_ge _ _ _ _ (lambeta_ge0 i j)).
by exists (cost Z t); split; [exists t | exact: best].
Qed.

(* a network cut to a support *)
Definition cut (Z : 'M[bool]_(n, m)) (S : 'M[R]_(n, m)) : 'M[R]_(n, m) :=
  \matrix_(i, j) (S i j * (Z i j)%:R).

Lemma cut_within Z S : within Z (cut Z S).
Proof. by move=> i j; rewrite mxE; case: (Z i j) => //; rewrite mulr0 eqxx. Qed.

Lemma cut_id Z S : within Z S -> cut Z S = S.
Proof.
move=> h; apply/matrixP => i j; rewrite mxE; have := h i j.
by case: (eqVneq (S i j) 0) => [->|_ /(_ isT) ->]; rewrite ?mul0r ?mulr1.
Qed.

Lemma cut_norm2 Z S : norm2 (cut Z S) <= norm2 S.
Proof.
apply: ler_sum => i _; apply: ler_sum => j _; rewrite mxE.
by case: (Z i j); rewrite ?mulr1 // mulr0 expr0n sqr_ge0.
Qed.

(* the network and its activities together *)
Theorem smooth_part_attained Z :
  exists S, argmin (within Z)
    (fun S : 'M[R]_(n, m) => L_data E lambda_a S + lambda_s * norm2 S) S.
Proof.
pose g (u : 'M[R]_(n, m) * 'M[R]_(m, l)) :=
  reconstruction E (cut Z u.1) lambda_a u.2 + lambda_s * norm2 u.1.
pose r := Num.min lambda_a lambda_s.
have [|||[S A] best] := @pair_min R n m m l g r.
- by rewrite lt_minr lambda_a_gt0.
- apply: continuous_add; first apply: continuous_add.
  + apply: continuous_norm2 => i j.
    pose p v := E i j - (cut Z (left_of v) *m right_of v) i j.
    apply: (@continuous_ext _ _ p) => [v|]; first by rewrite [RHS]mxE [X in _ + X]mxE.
    apply: continuous_add; first exact: continuous_const.
    apply: continuous_opp; apply: continuous_mulmx => [i' k|k j']; last exact: right_of_continuous.
    apply: (@continuous_ext _ _ (fun v => left_of v i' k * (Z i' k)%:R)) => [v|].
      by rewrite [RHS]mxE.
    by apply: continuous_mul; [exact: left_of_continuous | exact: continuous_const].
  + apply: continuous_mul; first exact: continuous_const.
    by apply: continuous_norm2 => i j; exact: right_of_continuous.
  + apply: continuous_mul; first exact: continuous_const.
    by apply: continuous_norm2 => i j; exact: left_of_continuous.
- move=> u; rewrite mulrDr addrC /g /reconstruction -addrA.
  apply: (@le_trans _ _ (lambda_a * norm2 u.2 + lambda_s * norm2 u.1)).
    by apply: ler_add; rewrite ler_wpmul2r ?norm2_ge0 // le_minl lexx ?orbT.
  by rewrite ler_addr norm2_ge0.
exists (cut Z S); split=> [|S' wS]; first exact: cut_within.
have := best (S', activities E S' lambda_a); rewrite {2}/g /= cut_id //.
rewrite reconstruction_at_activities //; apply: le_trans; apply: ler_add.
  by have [_] := reconstruction_is_min E (cut Z S) lambda_a_gt0; apply.
by rewrite ler_pmul2l // cut_norm2.
Qed.

(* the released objective has a minimiser *)
Theorem netrex_cf_attained : exists S A t, argmin (@free _) objective (S, A, t).
Proof.
have [Phi Phi_min] := choice factors_attained.
have [best hbest] := choice smooth_part_attained.
exact: proposition_2_attained Phi_min _ hbest.
Qed.

(* Proposition 2, with no hypothesis about attainment *)
Theorem proposition_2_real : exists2 Phi : 'M[bool]_(n, m) -> R,
  forall Z, is_min (cost Z) (Phi Z) &
  forall S A t, argmin (@free _) objective (S, A, t) <->
    argmin (@free _) (fun S : 'M[R]_(n, m) => L_data E lambda_a S + L_reg lambda_s Phi S) S
    /\ A = activities E S lambda_a /\ cost (support_of S) t = Phi (support_of S).
Proof.
have [Phi Phi_min] := choice factors_attained; exists Phi => // S A t.
exact: proposition_2_released.
Qed.

End Attained.

(* both, with the weights that the layers of the prior set *)
Section Evidence.
Variables (R : realType) (n m l d h : nat) (E : 'M[R]_(n, l)) (V : 'I_h -> 'M[R]_(n, m)).
Variables (e : seq R) (strength boost lambda_a lambda_s rho eta0 : R).
Hypothesis strength_gt0 : 0 < strength.
Hypothesis boost_gt0 : 0 < boost.
Hypothesis lambda_a_gt0 : 0 < lambda_a.
Hypothesis lambda_s_gt0 : 0 < lambda_s.
Hypothesis rho_gt0 : 0 < rho.
Hypothesis eta0_ge0 : 0 <= eta0.
Hypothesis most_gt1 : 1 < most (evidence V e).

Let cost := @factor_part R n m d (named V e) (evidence_lam n m strength) (evidence_alpha V e)
  (evidence_beta V e boost) rho eta0.
Let objective := @netrex_cf_of_evidence R n m l d h E V e strength boost
  lambda_a lambda_s rho eta0.

Theorem evidence_attained :
  (exists S A t, argmin (@free _) objective (S, A, t)) /\
  exists2 Phi : 'M[bool]_(n, m) -> R,
  forall Z, is_min (cost Z) (Phi Z) &
  forall S A t, argmin (@free _) objective (S, A, t) <->
    argmin (@free _) (fun S : 'M[R]_(n, m) => L_data E lambda_a S + L_reg lambda_s Phi S) S
    /\ A = activities E S lambda_a /\ cost (support_of S) t = Phi (support_of S).
Proof.
have ok := evidence_weights strength_gt0 boost_gt0 most_gt1.
have b0 i j : evidence_beta V e boost i j != 0 by case: (ok i j).
have la0 i j : 0 <= evidence_lam n m strength i j * evidence_alpha V e i j by case: (ok i j).
have lb0 i j : 0 <= evidence_lam n m strength i j * evidence_beta V e boost i j by case: (ok i j).
by split; [apply: netrex_cf_attained | apply: proposition_2_real].
Qed.

End Evidence.

(* The prior as an argument: one function L_reg(S, V) of the network and of the layers of evidence
   serves every prior. *)
Section Argument.
Variables (R : realType) (n m l d h : nat) (E : 'M[R]_(n, l)).
Variables (e : seq R) (strength boost lambda_a lambda_s rho eta0 : R).
Hypothesis strength_gt0 : 0 < strength.
Hypothesis boost_gt0 : 0 < boost.
Hypothesis lambda_a_gt0 : 0 < lambda_a.
Hypothesis lambda_s_gt0 : 0 < lambda_s.
Hypothesis rho_gt0 : 0 < rho.
Hypothesis eta0_ge0 : 0 <= eta0.

Theorem prior_is_an_argument : exists L_reg : 'M[R]_(n, m) -> ('I_h -> 'M[R]_(n, m)) -> R,
  forall V, 1 < most (evidence V e) -> forall S,
  argmin (@free _) (fun S : 'M[R]_(n, m) => L_data E lambda_a S + L_reg S V) S <->
  exists A t, argmin (@free _) (@netrex_cf_of_evidence R n m l d h E V e strength boost
    lambda_a lambda_s rho eta0) (S, A, t).
Proof.
pose good V (F : 'M[R]_(n, m) -> R) := 1 < most (evidence V e) -> forall S,
  argmin (@free _) (fun S : 'M[R]_(n, m) => L_data E lambda_a S + F S) S <->
  exists A t, argmin (@free _) (@netrex_cf_of_evidence R n m l d h E V e strength boost
    lambda_a lambda_s rho eta0) (S, A, t).
have [|F hF] := @choice _ _ good; last by exists (fun S V => F V S).
move=> V; have [m1|m1] := boolP (1 < most (evidence V e)); last by exists (fun=> 0) => /idPn.
have [_ [Phi Phi_min iff]] := @evidence_attained R n m l d h E V e strength boost lambda_a lambda_s
  rho eta0 strength_gt0 boost_gt0 lambda_a_gt0 lambda_s_gt0 rho_gt0 eta0_ge0 m1.
exists (L_reg lambda_s Phi) => _ S; split=> [best|[A [t /iff[]]]] //.
have [[t et] _] := Phi_min (support_of S).
by exists (activities E S lambda_a), t; apply/iff.
Qed.

End Argument.
